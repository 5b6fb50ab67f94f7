"""Values that facts of the generated world can take: 40 to 120 for each relation."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


CITIES = tuple(
    start + end
    for start in "Nor Kel Dor Hal Bram Wex Tarn Ash Cor Stan Pel Lin".split()
    for end in "vale mouth ford ham bridge wick stead by field port".split()
)
JOBS = _words(
    "pianist, architect, baker, carpenter, dentist, editor, farmer, geologist, hairdresser, illustrator, "
    "judge, lawyer, mechanic, nurse, optician, painter, plumber, poet, potter, reporter, sailor, "
    "sculptor, surgeon, surveyor, tailor, teacher, translator, vet, waiter, watchmaker, welder, weaver, "
    "actor, astronomer, banker, barber, biologist, butcher, chemist, composer, dancer, detective, "
    "diplomat, economist, electrician, engineer, firefighter, florist, gardener, historian, inspector, "
    "jeweler, librarian, locksmith, mathematician, midwife, miner, novelist, pharmacist, photographer, "
    "pilot, psychologist, roofer, shepherd"
)
EMPLOYERS = tuple(
    f"{head} {kind}"
    for head in (
        "Halcyon Meridian Summit Orchard Beacon Falcon Granite Harbor Ivory Juniper Lantern Maple Northern "
        "Opal Pioneer Quartz Raven Silver Tidal Union"
    ).split()
    for kind in "Bank Press Motors Foods Airlines".split()
)
HOBBIES = _words(
    "chess, beekeeping, archery, badminton, ballet, bowling, boxing, calligraphy, camping, canoeing, "
    "climbing, cricket, crochet, curling, cycling, darts, diving, embroidery, fencing, fishing, gliding, "
    "golf, gymnastics, hiking, hockey, judo, juggling, karate, kayaking, knitting, origami, orienteering, "
    "parachuting, photography, pottery, quilting, rowing, rugby, running, sailing, skating, skiing, "
    "snooker, squash, surfing, swimming, tennis, volleyball, wrestling, yoga"
)
PETS = _words(
    "parrot, hamster, tortoise, goldfish, greyhound, poodle, terrier, ferret, gecko, iguana, canary, "
    "budgie, rabbit, donkey, pony, goat, duck, goose, hedgehog, lizard, python, owl, pigeon, peacock, "
    "llama, alpaca, spaniel, beagle, bulldog, collie, dachshund, labrador, kitten, tabby cat, tarantula, "
    "chinchilla, gerbil, cockatoo, macaw, newt, turtle, husky, pug, mouse, rat"
)
DISHES = _words(
    "lasagna, ravioli, risotto, paella, goulash, ramen, sushi, tempura, curry, biryani, falafel, hummus, "
    "couscous, moussaka, tacos, burritos, enchiladas, gumbo, jambalaya, chowder, borscht, pierogi, "
    "schnitzel, bratwurst, fondue, raclette, quiche, ratatouille, bouillabaisse, cassoulet, gazpacho, "
    "tortilla, gnocchi, minestrone, pizza, dumplings, noodles, omelette, pancakes, waffles, porridge, "
    "kebab, meatballs, stew, roast lamb, fried rice, apple pie, cheesecake"
)
INSTRUMENTS = _words(
    "cello, violin, viola, harp, flute, oboe, clarinet, bassoon, trumpet, trombone, tuba, horn, piano, "
    "organ, accordion, banjo, mandolin, ukulele, guitar, lute, sitar, drums, marimba, xylophone, "
    "vibraphone, triangle, tambourine, cornet, bugle, recorder, piccolo, saxophone, harmonica, bagpipes, "
    "zither, dulcimer, harpsichord, double bass, kettledrum, cymbals"
)
SUBJECTS = _words(
    "algebra, anatomy, anthropology, archaeology, astronomy, biochemistry, botany, chemistry, classics, "
    "criminology, dance, drama, ecology, economics, engineering, ethics, genetics, geography, geology, "
    "geometry, history, journalism, law, linguistics, logic, management, marketing, mathematics, "
    "medicine, meteorology, music, nursing, nutrition, oceanography, optics, painting, pharmacy, "
    "philosophy, physics, politics, psychology, religion, sculpture, sociology, statistics, theology, "
    "zoology"
)
COLLECTIONS = _words(
    "stamps, coins, postcards, teapots, clocks, maps, masks, medals, badges, bottles, buttons, "
    "butterflies, candles, cameras, comics, corkscrews, dolls, fans, feathers, fossils, globes, hats, "
    "keys, lamps, magnets, marbles, matchboxes, minerals, mirrors, mugs, paperweights, pebbles, pencils, "
    "perfumes, posters, puppets, radios, seashells, snow globes, spoons, swords, tickets, tiles, toy "
    "trains, typewriters, umbrellas, vases, whistles"
)
LANGUAGES = _words(
    "Arabic, Basque, Bengali, Breton, Bulgarian, Catalan, Croatian, Czech, Danish, Dutch, Estonian, "
    "Finnish, French, Gaelic, Georgian, German, Greek, Hausa, Hebrew, Hindi, Hungarian, Icelandic, "
    "Italian, Japanese, Korean, Latin, Latvian, Malay, Maltese, Mandarin, Norwegian, Persian, Polish, "
    "Portuguese, Punjabi, Romanian, Russian, Serbian, Spanish, Swahili, Swedish, Tamil, Thai, Turkish, "
    "Ukrainian, Urdu, Welsh, Zulu"
)
ANIMALS = _words(
    "badger, bear, beaver, bison, boar, buffalo, camel, cheetah, cobra, crane, crow, deer, dolphin, "
    "eagle, elephant, elk, fox, gazelle, giraffe, hare, hawk, heron, ibex, jackal, jaguar, kangaroo, "
    "koala, leopard, lion, lynx, moose, otter, panda, panther, penguin, puffin, raccoon, rhino, salmon, "
    "seal, stag, stork, swan, tiger, walrus, weasel, whale, wolf, zebra"
)
PRODUCTS = _words(
    "carpets, cheese, chocolate, crystal, engines, furniture, gloves, helmets, honey, jam, ladders, "
    "leather, lenses, mattresses, mustard, ovens, paint, paper, pens, pianos, pillows, porcelain, pumps, "
    "razors, rope, saddles, sails, salt, scissors, shoes, silk, soap, sofas, steel, sugar, tea, tents, "
    "tools, toys, tractors, vinegar, violins, watches, wine, wool"
)
YEARS = tuple(str(year) for year in range(1921, 2000))
