from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.text.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A 1.2 cm nodule. No effusion.", ["A 1.2 cm nodule.", "No effusion."]),
        ("The nodule measures 2 cm. The heart is normal.", ["The nodule measures 2 cm.", "The heart is normal."]),
        ("It measures 3 cm. in diameter.", ["It measures 3 cm. in diameter."]),
        ("clear lungs . no effusion .", ["clear lungs .", "no effusion ."]),
        ("opacity , ? pneumonia", ["opacity , ? pneumonia"]),
        ("Discussed with Dr. Smith. No change.", ["Discussed with Dr. Smith.", "No change."]),
        ("Read by Dr. J. R. Smith at noon.", ["Read by Dr. J. R. Smith at noon."]),
        ("Reported at 10:30 a.m. by telephone.", ["Reported at 10:30 a.m. by telephone."]),
        ("Reported at 10 a.m. The team was informed.", ["Reported at 10 a.m.", "The team was informed."]),
        ("Seen at 9 p.m. Dr. Lee was told.", ["Seen at 9 p.m. Dr. Lee was told."]),
        ("Edema vs. Pneumonia is unclear.", ["Edema vs. Pneumonia is unclear."]),
        ("See Fig. Two, cf. The prior, approx. Two cm.", ["See Fig. Two, cf. The prior, approx. Two cm."]),
        ("Ms. Poe of St. Mary, Dept. Three, was told.", ["Ms. Poe of St. Mary, Dept. Three, was told."]),
        ("Lines, e.g. PICC, incl. Swan, resp. Hickman.", ["Lines, e.g. PICC, incl. Swan, resp. Hickman."]),
        ("Is there edema?No effusion.", ["Is there edema?", "No effusion."]),
        (
            "Small left effusion and basilar atelectasis\nHeart normal",
            ["Small left effusion and basilar atelectasis", "Heart normal"],
        ),
        ("Kerley B. The heart is large.", ["Kerley B.", "The heart is large."]),
        ("See image No. 4. No effusion.", ["See image No. 4.", "No effusion."]),
        ("1. Edema. 2. No effusion.", ["Edema.", "No effusion."]),
        ("1. Edema.\n2. No effusion.", ["Edema.", "No effusion."]),
        ("1) Edema.\n2) No effusion", ["Edema.", "No effusion"]),
        ("- Edema\n- No effusion", ["Edema", "No effusion"]),
        ("Small effusion.No pneumothorax.", ["Small effusion.", "No pneumothorax."]),
        ("Is there edema? No! It is clear.", ["Is there edema?", "No!", "It is clear."]),
        ("Basal opacity ? Pneumonia. Edema? Yes.", ["Basal opacity ? Pneumonia.", "Edema? Yes."]),
        ('Read as "normal." No change.', ['Read as "normal."', "No change."]),
        ("Unchanged from ___. No effusion.", ["Unchanged from ___.", "No effusion."]),
        ("Heart normal\nLungs clear", ["Heart normal", "Lungs clear"]),
        ("Small left\npleural effusion.", ["Small left pleural effusion."]),
        (
            "There is no focal consolidation, pleural effusion or pneumothorax and the\nHeart is normal.",
            ["There is no focal consolidation, pleural effusion or pneumothorax and the Heart is normal."],
        ),
        ("effusion\nno pneumothorax\nheart enlarged", ["effusion", "no pneumothorax", "heart enlarged"]),
        ("no effusion or edema\nlungs clear", ["no effusion or edema", "lungs clear"]),
        ("no effusion seen\nleft nodule", ["no effusion seen", "left nodule"]),
        ("heart not enlarged\nsmall left effusion", ["heart not enlarged", "small left effusion"]),
        ("no effusion\nor edema", ["no effusion or edema"]),
        ("no pleural\neffusion", ["no pleural effusion"]),
        ("no effusion\nin the left base", ["no effusion in the left base"]),
        ("no opacity\nsuggesting pneumonia", ["no opacity suggesting pneumonia"]),
        ("no opacity\nto suggest pneumonia", ["no opacity to suggest pneumonia"]),
        ("no evidence of\npneumonia", ["no evidence of pneumonia"]),
        ("no edema\nnodule or mass", ["no edema nodule or mass"]),
        ("the effusion\nno longer seen, edema", ["the effusion no longer seen, edema"]),
        ("no mass\neffect", ["no mass effect"]),
        ("no edema and no visible\npneumothorax", ["no edema and no visible pneumothorax"]),
        ("no edema, previously seen\nleft nodule", ["no edema, previously seen left nodule"]),
        ("edema. no nodule\nmass effect", ["edema. no nodule mass effect"]),
        ("no effusion,\nedema", ["no effusion, edema"]),
        ("No effusion\n\nno edema", ["No effusion", "no edema"]),
        ("", []),
        (" \n. ", []),
    ],
)
def test_traps(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text(alphabet=st.sampled_from("aB1. \n-?)"), max_size=60))
def test_sentences_keep_the_order_and_lose_no_letter(text: str) -> None:
    kept = "".join(letter for sentence in split_sentences(text) for letter in sentence if letter.isalpha())
    assert kept == "".join(letter for letter in text if letter.isalpha())


@given(st.lists(st.sampled_from(["No effusion.", "A 1.2 cm nodule.", "Clear lungs.", "Seen by Dr. Lee."]), max_size=6))
def test_sentences_that_are_joined_are_split_again(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences
