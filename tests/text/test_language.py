from __future__ import annotations

import pytest

from medvlp.text.labels import label_report
from medvlp.text.language import is_english
from medvlp.text.mentions import read_report


@pytest.mark.parametrize(
    "text",
    [
        "Clear lungs.",
        "Cardiomegaly.",
        "No effusion.",
        "Status post CABG, sternal wires.",
        "Small left effusion",
        "ET tube 3 cm above carina.",
        "PA and lateral chest x-ray. Heart size normal, lungs clear.",
        "XXXX, de novo nodule per Dr. Müller in the right lung.",
        "Small non-tension pneumothorax.",
        "",
    ],
)
def test_english_is_english_however_short(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "Kein Pleuraerguss.",
        "Kein Nachweis eines Pneumothorax. Geringe Verschattung rechts basal.",
        "Unauffälliger Herz-Lungen-Befund.",
        "Sin derrame pleural.",
        "No se observa neumotórax ni derrame pleural. Silueta cardiaca de tamaño normal.",
        "Pas d'épanchement pleural.",
        "Le coeur est de taille normale. Absence de pneumothorax.",
        "Sem derrame pleural.",
        "Área cardíaca normal. Não há consolidações.",
        "cardiomegali .",  # words of PadChest are stems
        "no observ alter pulmonar .",
        "neumotorax derech . engros pleural apical bilateral .",
        "patron alveolar lobul superior derech .",
    ],
)
def test_other_languages_give_blanks_and_a_warning(text: str) -> None:
    assert not is_english(text)
    with pytest.warns(UserWarning, match="not in English"):
        assert read_report(text) == ()
    with pytest.warns(UserWarning, match="not in English") as said:
        labels = label_report(text, "chexpert14")
    assert set(labels.values()) == {None}
    assert len(said) == 1
