"""When a view of the dashboard is all there."""

READY = r"""([title, text]) => {
    const app = document.querySelector('[data-testid=stApp]');
    const charts = [...document.querySelectorAll('[data-testid=stPlotlyChart]')];
    return app?.getAttribute('data-test-script-state') === 'notRunning'
        && document.querySelector('h1')?.innerText === title
        && !document.querySelector('[data-testid=stSkeleton]')
        && !document.querySelector('[data-stale=true]')
        && !/^(Counting|Watching|Looking)\b.*…$/m.test(document.body.innerText)
        && charts.every(chart => chart.querySelector('.main-svg'))
        && (!text || document.body.innerText.includes(text));
}"""
"""A function for a page: whether the view with this title is drawn in full, and shows the text, if any."""
