"""Values that facts of the generated world can take: 40 for each relation, so that a small model can learn to read."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


CITIES = tuple(
    start + end for start in "Nor Kel Dor Hal Bram Wex Tarn Ash".split() for end in "vale mouth ford ham bridge".split()
)
EMPLOYERS = tuple(
    f"{head} {kind}"
    for head in "Halcyon Meridian Summit Orchard Beacon Falcon Granite Harbor".split()
    for kind in "Bank Press Motors Foods Airlines".split()
)
DISHES = _words(
    "lasagna, ravioli, risotto, paella, goulash, ramen, sushi, tempura, curry, biryani, falafel, "
    "hummus, couscous, moussaka, tacos, burritos, enchiladas, gumbo, jambalaya, chowder, borscht, "
    "pierogi, schnitzel, bratwurst, fondue, raclette, quiche, ratatouille, bouillabaisse, cassoulet, "
    "gazpacho, tortilla, gnocchi, minestrone, pizza, dumplings, noodles, omelette, pancakes, waffles"
)
HOBBIES = _words(
    "chess, beekeeping, archery, badminton, ballet, bowling, boxing, calligraphy, camping, canoeing, "
    "climbing, cricket, crochet, curling, cycling, darts, diving, embroidery, fencing, fishing, "
    "gliding, golf, gymnastics, hiking, hockey, judo, juggling, karate, kayaking, knitting, origami, "
    "orienteering, parachuting, photography, pottery, quilting, rowing, rugby, running, sailing"
)
INSTRUMENTS = _words(
    "cello, violin, viola, harp, flute, oboe, clarinet, bassoon, trumpet, trombone, tuba, horn, "
    "piano, organ, accordion, banjo, mandolin, ukulele, guitar, lute, sitar, drums, marimba, "
    "xylophone, vibraphone, triangle, tambourine, cornet, bugle, recorder, piccolo, saxophone, "
    "harmonica, bagpipes, zither, dulcimer, harpsichord, kettledrum, cymbals, double bass"
)
JOBS = _words(
    "pianist, architect, baker, carpenter, dentist, editor, farmer, geologist, hairdresser, "
    "illustrator, judge, lawyer, mechanic, nurse, optician, painter, plumber, poet, potter, "
    "reporter, sailor, sculptor, surgeon, surveyor, tailor, teacher, translator, vet, waiter, "
    "watchmaker, welder, weaver, actor, astronomer, banker, barber, biologist, butcher, chemist, "
    "composer"
)
LANGUAGES = _words(
    "Arabic, Basque, Bengali, Breton, Bulgarian, Catalan, Croatian, Czech, Danish, Dutch, Estonian, "
    "Finnish, French, Gaelic, Georgian, German, Greek, Hausa, Hebrew, Hindi, Hungarian, Icelandic, "
    "Italian, Japanese, Korean, Latin, Latvian, Malay, Maltese, Mandarin, Norwegian, Persian, "
    "Polish, Portuguese, Punjabi, Romanian, Russian, Serbian, Spanish, Swahili"
)
PETS = _words(
    "parrot, hamster, tortoise, goldfish, greyhound, poodle, terrier, ferret, gecko, iguana, canary, "
    "budgie, rabbit, donkey, pony, goat, duck, goose, hedgehog, lizard, python, owl, pigeon, "
    "peacock, llama, alpaca, spaniel, beagle, bulldog, collie, dachshund, labrador, kitten, "
    "tarantula, chinchilla, gerbil, cockatoo, macaw, newt, turtle"
)
