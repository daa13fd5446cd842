import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.util.Map;

/** The ONNX model, asked for one transaction at a time. */
final class Model {
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;

    Model(String path) throws OrtException {
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(1);
        options.setInterOpNumThreads(1);
        session = environment.createSession(path, options);
    }

    Scoring score(Scoring scoring) throws OrtException {
        try (OnnxTensor input = OnnxTensor.createTensor(environment, new float[][] {scoring.inputs()});
                OrtSession.Result output = session.run(Map.of("input", input))) {
            long[] labels = (long[]) output.get(0).getValue();
            float[][] probabilities = (float[][]) output.get(1).getValue();
            return scoring.with(labels[0], probabilities[0][1]);
        }
    }
}
