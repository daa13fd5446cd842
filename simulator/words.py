"""Names, streets and occupations for simulated people and shops."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FEMALE_NAMES: tuple[str, ...] = _words(
    """
    Abigail Alice Amanda Amy Andrea Angela Anna Ashley Barbara Beth Brenda Brittany Carla Carmen Carol
    Catherine Charlotte Cheryl Christina Claire Courtney Cynthia Danielle Deborah Diana Donna Elena
    Elizabeth Emily Erica Erin Eva Gabriela Grace Hannah Heather Helen Irene Isabel Jane Janet Jasmine
    Jennifer Jessica Joan Judith Julia Karen Katherine Kelly Kimberly Laura Lauren Leah Linda Lisa Lori
    Lucy Madison Margaret Maria Martha Mary Megan Melissa Michelle Monica Nancy Naomi Natalie Nicole
    Olivia Pamela Patricia Paula Priya Rachel Rebecca Renee Rosa Ruth Samantha Sandra Sara Sharon Sofia
    Stephanie Susan Tamara Teresa Tiffany Tracy Valerie Vanessa Victoria Wendy Yolanda Zoe
    """
)
MALE_NAMES: tuple[str, ...] = _words(
    """
    Aaron Adam Adrian Alan Albert Alexander Andre Andrew Anthony Antonio Arthur Benjamin Bradley Brandon
    Brian Bruce Bryan Caleb Carl Carlos Chad Charles Christian Christopher Cody Corey Craig Daniel
    Darren David Dennis Derek Diego Dominic Donald Douglas Duane Dylan Edward Eric Ethan Evan Felix
    Francis Frank Gary George Gerald Gregory Harold Henry Hugo Ian Isaac Jack Jacob James Jason Javier
    Jeffrey Jeremy Jesse Joel John Jonathan Jordan Jose Joseph Joshua Juan Justin Keith Kenneth Kevin
    Kyle Larry Leonard Louis Lucas Marcus Mark Martin Matthew Michael Mitchell Nathan Nicholas Oscar
    Patrick Paul Peter Philip Ralph Raymond Ricardo Richard Robert Ronald Russell Ryan Samuel Scott Sean
    Stephen Steven Thomas Timothy Todd Travis Tyler Victor Vincent Walter William Zachary
    """
)
LAST_NAMES: tuple[str, ...] = _words(
    """
    Abbott Adams Aguilar Alexander Allen Alvarez Anderson Andrews Arnold Bailey Baker Barnes Barnett
    Bauer Becker Bell Bennett Bergstrom Black Blair Bowman Boyd Bradley Brooks Brown Bryant Burke Burns
    Butler Campbell Carlson Carpenter Carr Carroll Carter Castillo Chambers Chang Chapman Chavez Clark
    Cole Coleman Collins Cook Cooper Cox Crawford Cruz Cunningham Daniels Davidson Davis Dawson Delgado
    Diaz Dixon Douglas Duncan Dunn Edwards Elliott Ellis Evans Ferguson Fields Fisher Fleming Flores
    Ford Foster Fowler Fox Franklin Freeman Fuller Garcia Gardner Gibson Gilbert Gomez Gonzalez Goodwin
    Gordon Graham Grant Graves Gray Green Griffin Gutierrez Hall Hamilton Hansen Hanson Harper Harris
    Harrison Hart Harvey Hawkins Hayes Henderson Henry Hernandez Hicks Hill Hoffman Holmes Howard Hudson
    Hughes Hunt Hunter Jackson Jacobs James Jenkins Jensen Johnson Jones Jordan Kelly Kennedy Kim King
    Knight Kuhn Lane Larson Lawrence Le Lee Lewis Long Lopez Lynch Marshall Martin Martinez Mason
    Matthews McCarthy McCoy McDonald McKinney Medina Mendoza Meyer Miller Mills Mitchell Moore Morales
    Moreno Morgan Morris Morrison Murphy Murray Myers Nelson Newman Nguyen Nichols Oliver Olson Ortiz
    Owens Palmer Park Parker Patel Patterson Payne Perez Perkins Perry Peters Peterson Phillips Pierce
    Porter Powell Price Quinn Ramirez Ramos Reed Reyes Reynolds Rice Richards Richardson Riley Rivera
    Roberts Robinson Rodriguez Rogers Romero Rose Ross Ruiz Russell Ryan Sanchez Sanders Schmidt
    Schneider Schultz Scott Shaw Silva Simmons Simpson Sims Singh Smith Snyder Spencer Stanley Stephens
    Stevens Stewart Stone Sullivan Taylor Thomas Thompson Torres Tran Tucker Turner Vargas Vasquez
    Wagner Walker Wallace Ward Warren Washington Watkins Watson Weaver Webb Weber Welch Wells West
    Wheeler White Williams Williamson Willis Wilson Wong Wood Woods Wright Yang Young Zimmerman
    """
)
SHOP_NAMES: tuple[str, ...] = _words(
    """
    Abernathy Altenwerth Armstrong Auer Bahringer Balistreri Barrows Bartell Baumbach Bechtelar Bernier
    Blanda Block Boehm Bogan Borer Botsford Boyer Brakus Braun Breitenberg Bruen Buckridge Cartwright
    Casper Champlin Collier Conn Connelly Considine Cormier Corwin Cremin Crist Crona Cruickshank
    Cummings Dach Daugherty Denesik Dickens Dietrich Donnelly Dooley Douglas Doyle Ebert Effertz Emard
    Ernser Erdman Fadel Fahey Farrell Feest Ferry Fisher Franecki Friesen Gaylord Gerlach Gibson
    Gislason Gleason Goldner Goodwin Gorczany Gottlieb Goyette Grady Greenholt Grimes Gulgowski
    Gutkowski Hackett Hagenes Halvorson Harber Hauck Heaney Heathcote Hegmann Heller Herman Hessel
    Hickle Hills Hirthe Hoeger Homenick Hoppe Howell Huel Hyatt Jacobi Jakubowski Jaskolski Jenkins
    Jewess Johns Kautzer Keebler Kemmer Kertzmann Kessler Kiehn Kihn Kilback Kirlin Klein Klocko Koch
    Koelpin Kohler Kozey Krajcik Kreiger Kshlerin Kub Kuhic Kulas Kunde Kutch Lakin Langosh Lebsack
    Lehner Leuschke Lindgren Littel Lockman Lowe Lubowitz Lynch Maggio Mante Marks Marquardt Marvin
    McClure McCullough McDermott McGlynn McKenzie McLaughlin Mertz Metz Mohr Moen Monahan Mosciski Mraz
    Mueller Murazik Nader Nicolas Nienow Nikolaus Nitzsche Nolan Oberbrunner Okuneva Ondricka Orn Ortiz
    Pacocha Padberg Parisian Paucek Pfannerstill Pollich Pouros Predovic Prohaska Prosacco Purdy Quigley
    Quitzon Rath Ratke Raynor Reichel Reichert Reilly Reinger Rempel Renner Ritchie Roberts Robel
    Rodriguez Rohan Rolfson Romaguera Roob Rowe Ruecker Runte Runolfsson Rutherford Satterfield Sauer
    Sawayn Schaden Schaefer Schamberger Schiller Schinner Schmeler Schmitt Schoen Schowalter Schroeder
    Schulist Schumm Schuppe Schuster Senger Shanahan Shields Simonis Sipes Skiles Smitham Spinka Sporer
    Stamm Stanton Stark Stehr Steuber Stiedemann Stokes Stracke Strosin Swaniawski Swift Terry Thiel
    Tillman Torphy Towne Toy Trantow Treutel Tromp Turcotte Ullrich Upton Vandervort Veum Volkman
    VonRueden Waelchi Walsh Walter Weber Wehner Weimann Weissnat Welch White Wiegand Wilderman Wilkinson
    Willms Windler Wintheiser Wisoky Wisozk Witting Wiza Wolff Wuckert Wunsch Wyman Yost Yundt Zboncak
    Zemlak Zieme Ziemann Zulauf
    """
)
SHOP_ENDINGS: tuple[str, ...] = ("LLC", "Inc", "Ltd", "Group", "PLC", "and Sons")
STREET_NAMES: tuple[str, ...] = _words(
    """
    Ash Aspen Bayview Birch Bridge Canyon Cedar Cherry Chestnut Church Clearwater College Cottonwood
    Creek Dogwood Elm Fairview Forest Garden Grove Harbor Hickory Highland Hillcrest Holly Jefferson
    Juniper Lakeview Laurel Lincoln Locust Madison Magnolia Maple Meadow Mill Monroe Mulberry Oak
    Orchard Park Pearl Pine Poplar Prospect Ridge River Spring Spruce Summit Sunset Sycamore Valley
    Walnut Washington Willow Woodland
    """
)
STREET_ENDINGS: tuple[str, ...] = ("Street", "Avenue", "Lane", "Road", "Drive", "Court", "Way", "Boulevard")
JOBS: tuple[str, ...] = (
    "Accountant, chartered", "Accounting technician", "Actor", "Agricultural engineer",
    "Air traffic controller", "Ambulance driver", "Archaeologist", "Architect", "Art therapist",
    "Audiological scientist", "Baker", "Barista", "Bookseller", "Brewing technologist", "Building surveyor",
    "Bus driver", "Carpenter", "Cartographer", "Chef", "Chemical engineer", "Chiropodist", "Civil engineer",
    "Clinical psychologist", "Commercial diver", "Community nurse", "Conference organiser",
    "Conservator, museum", "Copywriter", "Counsellor", "Customs officer", "Dancer", "Data scientist",
    "Dental hygienist", "Dentist", "Designer, graphic", "Designer, interior", "Dietitian", "Economist",
    "Electrician", "Electronics engineer", "Energy manager", "Environmental consultant", "Event organiser",
    "Exhibition designer", "Farm manager", "Film editor", "Financial adviser", "Firefighter",
    "Fitness trainer", "Forest ranger", "Geologist", "Geophysicist", "Hairdresser", "Health visitor",
    "Historian", "Hospital pharmacist", "Hotel manager", "Hydrologist", "Illustrator",
    "Immigration officer", "Insurance broker", "Journalist", "Judge", "Land surveyor",
    "Lecturer, higher education", "Librarian, public", "Logistics manager", "Machinist", "Marine scientist",
    "Mechanical engineer", "Medical physicist", "Meteorologist", "Midwife", "Miner", "Musician",
    "Naval architect", "Occupational therapist", "Optician, dispensing", "Paediatric nurse",
    "Painter and decorator", "Paramedic", "Petroleum engineer", "Photographer", "Physiotherapist",
    "Pilot, airline", "Plumber", "Podiatrist", "Police officer", "Postal worker", "Prison officer",
    "Product manager", "Psychiatrist", "Public relations officer", "Quarry manager", "Radiographer",
    "Retail buyer", "Retail manager", "Roofer", "Sales executive", "Seismic interpreter", "Set designer",
    "Social worker", "Software engineer", "Solicitor", "Sports coach", "Statistician", "Student",
    "Tax adviser", "Teacher, primary school", "Teacher, secondary school", "Telecommunications engineer",
    "Textile designer", "Tour guide", "Town planner", "Toxicologist", "Translator", "Tree surgeon",
    "Truck driver", "Veterinary surgeon", "Video editor", "Warehouse manager", "Web developer", "Welder",
    "Writer", "Youth worker",
)  # fmt: skip
