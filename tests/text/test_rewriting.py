from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import medvlp.text.rewriting as package
from medvlp.core.randomness import torch_generator
from medvlp.text.rewriting import numbers_of, rewrite, same_meaning, sides_of
from medvlp.text.rewriting.exchange import load_table, reword, turn_sentences
from medvlp.text.rewriting.order import reorder_sections, reorder_sentences
from medvlp.text.sections import split_sections
from medvlp.text.sentences import split_sentences
from tests.text.reading import facts, lost_in, phantom_reports

FOLDER = Path(package.__file__).parent
TABLES = ("synonyms", "abbreviations")
COUNT = 1000
SEEDS = st.integers(0, 2**40)


def drawn(seed: int) -> torch.Generator:
    return torch_generator(seed, 0, "test")


def table_of(folder: Path, text: str) -> Path:
    path = folder / "table.yaml"
    path.write_text(text)
    return path


# the whole -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_findings_sides_certainty_and_numbers_of_a_thousand_phantom_reports_are_kept() -> None:
    lost = Counter[str]()
    changed = 0
    for place, report in enumerate(phantom_reports(COUNT)):
        other = rewrite(report.text, torch_generator(1, place, "rewrite"))
        changed += other != report.text
        lost[lost_in(report.text, other)] += 1
    assert lost == {"": COUNT}
    assert changed > 0.98 * COUNT


@pytest.mark.slow
def test_everything_a_phantom_report_says_is_said_once_and_in_its_section_whatever_the_order() -> None:
    for place, report in enumerate(phantom_reports(COUNT)[:200]):
        other = rewrite(report.text, drawn(place), synonyms=0, abbreviations=0)
        was, now = split_sections(report.text), split_sections(other)
        assert was.keys() == now.keys()
        for name in was:
            assert Counter(split_sentences(was[name])) == Counter(split_sentences(now[name]))


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_same_generator_gives_the_same_words_and_switched_off_it_gives_the_report(seed: int) -> None:
    text = phantom_reports(COUNT)[seed % COUNT].text
    state = torch.get_rng_state()
    assert rewrite(text, drawn(seed)) == rewrite(text, drawn(seed))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    off = rewrite(text, drawn(seed), synonyms=0, abbreviations=0, sentences=False, sections=False)
    assert off.split() == text.split()


def test_a_wrapped_line_may_lose_its_break_and_a_sentence_never_its_end() -> None:
    text = "FINDINGS:\n The lungs are clear without any sign of focal consolidation or\n pneumothorax. No effusion."
    for seed in range(30):
        assert len(split_sentences(split_sections(rewrite(text, drawn(seed)))["findings"])) == 2


@pytest.mark.parametrize("text", ["", " \n", "No.", "?", "1.", "FINDINGS:", "Left\r\neffusion.\r\nNo nodule."])
def test_texts_with_nothing_to_rewrite_survive(text: str) -> None:
    assert rewrite(text, drawn(3)).split() == text.split() or "nodule" in text


# tables --------------------------------------------------------------------------------------------------------------


def entries() -> list[tuple[str, dict[str, list[str]]]]:
    return [(name, e) for name in TABLES for e in yaml.safe_load((FOLDER / f"{name}.yaml").read_text())]


@pytest.mark.parametrize(("table", "entry"), entries(), ids=lambda value: None)
def test_all_phrases_of_an_entry_are_read_alike(table: str, entry: dict[str, list[str]]) -> None:
    phrases = entry.get("same", [*entry.get("from", []), *entry.get("to", [])])
    after, before = entry.get("after", [""])[0], entry.get("before", [""])[0].replace("#", "5 mm")
    sentences = [" ".join(f"{after} {phrase} {before}".split()) + ". That is all there is." for phrase in phrases]
    read = [{fact[:5] for fact in facts(sentence)} for sentence in sentences]
    assert all(each == read[0] for each in read), dict(zip(phrases, read, strict=True))


def test_no_entry_exchanges_a_number_a_side_or_a_denial() -> None:
    denial = re.compile(r"\b(?:no|not|without|w/o|never|absent|cannot|longer)\b")
    for _, entry in entries():
        phrases = entry.get("same", [*entry.get("from", []), *entry.get("to", [])])
        assert len({tuple(sorted(sides_of(phrase).items())) for phrase in phrases}) == 1, phrases
        assert len({tuple(sorted(numbers_of(phrase).items())) for phrase in phrases}) == 1, phrases
        assert len({bool(denial.search(phrase)) for phrase in phrases}) == 1, phrases


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("A lung nodule.", {"A pulmonary nodule."}),
        ("LUNG NODULE IN THE LEFT LUNG", {"PULMONARY NODULE IN THE LEFT LUNG"}),
        ("Osseous abnormality.", {"Bony abnormality."}),
        ("There is an osseous abnormality.", {"There is a bony abnormality."}),
        ("Right lower lung nodule.", {"Right lower lung nodule."}),
        ("The left lung has cleared.", {"The left lung has cleared."}),  # a lung is not resolved
        ("The edema has cleared.", {"The oedema has resolved."}),
        ("As compared to the film of today.", {"As compared to the film of today."}),
        ("No pleural effusion.", {"No pleural fluid."}),
        ("Small pleural effusion.", {"Small pleural effusion."}),
        ("No pleural\neffusion.", {"No pleural fluid."}),
        ("Left-sided pleural effusion.", {"Left pleural effusion."}),
        ("The effusion is left-sided.", {"The effusion is left-sided."}),
        ("Ends of the ribs.", {"Ends of the ribs."}),
        ("Dual-chamber pacemaker.", {"Dual-chamber pacemaker."}),
        ("CHEST RADIOGRAPH: clear", {"CHEST RADIOGRAPH: clear"}),
        ("Approximately normal.", {"Approximately normal."}),
        ("Approximately 5 mm.", {"About 5 mm."}),
        ("It is noted that the tube is high.", {"It is noted that the tube is high."}),
        ("The patient is stable.", {"The patient is stable."}),
        ("The effusion is stable.", {"The effusion is unchanged."}),
    ],
)
def test_phrases_are_exchanged_only_where_they_fit_with_case_and_article(text: str, allowed: set[str]) -> None:
    table = load_table(FOLDER / "synonyms.yaml")
    assert {reword(text, table, drawn(seed), rate=1.0) for seed in range(20)} == allowed


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("RLL opacity.", {"Right lower lobe opacity."}),
        ("An ETT is seen.", {"An endotracheal tube is seen.", "An ET tube is seen."}),
        ("A PICC is seen.", {"A peripherally inserted central catheter is seen.", "A PICC line is seen."}),
        ("An IJ catheter.", {"An internal jugular catheter."}),
        ("A left upper lobe nodule.", {"An LUL nodule."}),
        ("R pleural effusion.", {"Right pleural effusion."}),
        ("r/o effusion.", {"rule out effusion."}),
        ("L spine.", {"L spine."}),
        ("The patient lll.", {"The patient lll."}),
        ("Clear w/o effusion.", {"Clear without effusion."}),
        ("Nodule w/ calcification.", {"Nodule with calcification."}),
        ("History of CHF.", {"H/o congestive heart failure."}),
    ],
)
def test_abbreviations_are_written_out_and_made_where_nothing_else_could_be_meant(text: str, allowed: set[str]) -> None:
    table = load_table(FOLDER / "abbreviations.yaml")
    assert {reword(text, table, drawn(seed), rate=1.0) for seed in range(20)} == allowed


def test_the_rate_is_the_share_of_phrases_that_are_exchanged() -> None:
    table = load_table(FOLDER / "synonyms.yaml")
    text = " ".join(["Lung nodule."] * 400)
    assert reword(text, table, drawn(0), rate=0.0) == text
    share = reword(text, table, drawn(0), rate=0.3).count("Pulmonary") / 400
    assert abs(share - 0.3) < 5 * (0.3 * 0.7 / 400) ** 0.5


@pytest.mark.parametrize("name", ["synonyms", "abbreviations", "sentence_turns"])
def test_every_phrase_of_the_tables_stands_once_and_has_another(name: str) -> None:
    entries = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    contexts = {"after", "not_after", "before", "not_before"}
    assert all(set(entry) - contexts in ({"same"}, {"from", "to"}) for entry in entries)
    assert all(
        isinstance(text, str) and text == " ".join(text.split()) for e in entries for v in e.values() for text in v
    )
    phrases = [phrase for entry in entries for phrase in entry.get("same") or entry["from"]]
    assert len(set(phrases)) == len(phrases)
    assert all(len(entry["same"]) > 1 if "same" in entry else entry["to"] for entry in entries)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Non-mass lesion, 2-mass, 2/mass, d'mass.", "Non-mass lesion, 2-mass, 2/mass, d'mass."),
        ("MASS: none. The mass: none.", "MASS: none. The mass: none."),
        ("AN OPAQUE MASS IS SEEN.", "AN OPAQUE LUMP IS SEEN."),
        ("A MASS IS SEEN.", "A LUMP IS SEEN."),
        (
            "THERE IS A SPOT.\nAn array is seen, a spot is seen.",
            "THERE IS AN ARRAY.\nA spot is seen, an array is seen.",
        ),
        ("Lung Mass seen, MASS seen.", "Lung Lump seen, lump seen."),
        ("A well circumscribed rounded small lesion.", "A well circumscribed rounded small area."),
        ("A small lesion.", "A small lesion."),
    ],
)
def test_parts_of_words_and_headers_stay_and_capitals_and_long_contexts_are_minded(
    tmp_path: Path, text: str, made: str
) -> None:
    entries = "- same: [mass, lump]\n- same: [spot, array]\n- {from: [lesion], to: [area], "
    entries += "after: [well circumscribed rounded small]}\n"
    assert reword(text, load_table(table_of(tmp_path, entries)), drawn(0), rate=1.0) == made


def test_a_part_of_a_phrase_that_must_stay_stays_too(tmp_path: Path) -> None:
    entries = "- {same: [pleural effusion, pleural fluid], after: [large]}\n- same: [pleural, thoracic]\n"
    table = load_table(table_of(tmp_path, entries))
    said = reword("Small pleural effusion, large pleural effusion, pleural wall.", table, drawn(0), rate=1.0)
    assert said == "Small pleural effusion, large pleural fluid, thoracic wall."


def test_a_thing_that_is_named_again_after_many_words_stays_behind_its_first_name() -> None:
    first = "A nodule in the left lung. No effusion. The previously described irregular large nodule is stable."
    second = "Left nodule. No fracture. Left effusion. The nodule is as it was before and the effusion is small."
    for text in (first, second):
        assert {reorder_sentences(text, drawn(seed)) for seed in range(20)} == {text}


def test_lines_without_full_stops_change_places() -> None:
    said = {reorder_sentences("Left effusion\nNo nodule", drawn(seed)) for seed in range(20)}
    assert said == {"Left effusion\nNo nodule", "No nodule\nLeft effusion"}


# sentences -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("There is no nodule.", {"No nodule.", "No nodule is seen.", "No nodule is identified."}),
        ("No nodule or mass is seen.", {"There is no nodule or mass.", "No nodule or mass."}),
        ("There are no nodules.", {"No nodules.", "No nodules are seen.", "No nodules are identified."}),
        ("There is no longer a nodule.", {"There is no longer a nodule."}),
        ("There is no nodule, mass.", {"There is no nodule, mass."}),
        ("There is no effusion, and there is no nodule.", {"There is no effusion, and there is no nodule."}),
        ("No change is seen.", {"There is no change.", "No change."}),
        ("No nodule was seen.", {"No nodule was seen."}),
    ],
)
def test_sentences_are_turned_where_the_whole_form_fits(text: str, forms: set[str]) -> None:
    assert {turn_sentences(text, drawn(seed), rate=1.0) for seed in range(40)} == forms


@pytest.mark.parametrize(
    "pair",
    [
        ("Left effusion.", "It is small."),
        ("Left effusion.", "This is new."),
        ("Nodules in both lungs.", "These are unchanged."),
        ("Right nodule.", "The nodule measures 5 mm."),
        ("Central line on the right.", "Its tip is in the SVC."),
        ("A tube is seen.", "The tip of the tube is low."),
        ("Left opacity.", "However, no consolidation."),
        ("Left and right effusions.", "The larger one is left."),
        ("Right lung nodule.", "Recommend CT."),
        ("Left opacity.", "A radiograph in 6 weeks is recommended."),
        ("Left pneumothorax has resolved.", "Right persists."),
        ("Left pneumothorax has resolved.", "The right one remains."),
        ("Left effusion.", "Unchanged."),
        ("Left effusion is larger.", "Stable on the right."),
    ],
)
def test_a_sentence_is_never_parted_from_one_that_it_refers_to(pair: tuple[str, str]) -> None:
    text = f"The heart is normal. {pair[0]} {pair[1]} No fracture."
    orders = {reorder_sentences(text, drawn(seed)) for seed in range(60)}
    assert len(orders) == 6
    assert all(" ".join(pair) in order for order in orders)


@pytest.mark.parametrize("said", ["It is larger.", "Larger than before."])
def test_what_is_said_of_a_thing_is_not_said_of_what_is_denied_between(said: str) -> None:
    text = f"Left effusion. No edema. {said} Normal heart."
    orders = {reorder_sentences(text, drawn(seed)) for seed in range(40)}
    assert orders == {text, f"Normal heart. Left effusion. No edema. {said}"}


def test_what_stands_between_a_thing_and_its_return_stays_with_them() -> None:
    text = "Left nodule. Normal heart. The nodule is new. No fracture."
    orders = {reorder_sentences(text, drawn(seed)) for seed in range(40)}
    assert orders == {text, "No fracture. Left nodule. Normal heart. The nodule is new."}


@pytest.mark.parametrize("rest", ["Otherwise the lungs are clear.", "Opacity seen below.", "The spine is noted above."])
def test_nothing_crosses_a_sentence_that_speaks_of_the_rest(rest: str) -> None:
    text = f"Left nodule. No effusion. {rest} Normal heart. No fracture."
    for seed in range(40):
        first, second = reorder_sentences(text, drawn(seed)).split(rest)
        assert set(split_sentences(first)) == {"Left nodule.", "No effusion."}
        assert set(split_sentences(second)) == {"Normal heart.", "No fracture."}


def test_list_numbers_and_line_breaks_stay_in_place() -> None:
    text = "IMPRESSION:\n1. Left effusion.\n2. No nodule.\n3. Normal heart."
    orders = {reorder_sentences(text, drawn(seed)) for seed in range(60)}
    assert len(orders) == 6
    shape = re.compile(r"IMPRESSION:\n1\. .*\.\n2\. .*\.\n3\. .*\.")
    assert all(shape.fullmatch(order) for order in orders)


def test_sentences_stay_in_their_section_and_those_of_other_sections_where_they_were() -> None:
    text = "INDICATION: Cough. Fever.\nFINDINGS: One effusion. No nodule.\nIMPRESSION: Effusion. Normal heart."
    end = "\nRECOMMENDATION: CT chest. Call the clinic.\nADDENDUM: No nodule. Left effusion."
    for seed in range(20):
        assert reorder_sentences(text, drawn(seed)).startswith("INDICATION: Cough. Fever.\n")
        assert reorder_sentences(text + end, drawn(seed)).endswith(end)
        sections = split_sections(reorder_sentences(text, drawn(seed)))
        assert set(split_sentences(sections["findings"])) == {"One effusion.", "No nodule."}


@pytest.mark.parametrize(
    "text",
    [
        "Left lung: Nodule. No effusion. Right lung: Clear.",
        "Chest. Left nodule. Right knee. Old fracture.",
        "LUNGS: Clear.\nNo nodule.\nHEART: Normal.",
        "left effusion. Clear otherwise.\nlarge heart.",
        "1.Left effusion. 2.No nodule. Clear lungs.",
    ],
)
def test_what_stands_under_a_heading_or_begins_small_or_glued_to_its_number_stays_there(text: str) -> None:
    assert {reorder_sentences(text, drawn(seed)) for seed in range(20)} == {text}


@pytest.mark.parametrize("text", ["Left effusion, no nodule", "Left effusion. No nodule", "Left effusion."])
def test_text_without_full_stops_keeps_its_order(text: str) -> None:
    assert {reorder_sentences(text, drawn(seed)) for seed in range(20)} == {text}


# sections ------------------------------------------------------------------------------------------------------------


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_sections_change_places_with_their_bodies_word_for_word(seed: int) -> None:
    report = phantom_reports(COUNT)[seed % COUNT].text
    other = reorder_sections(report, drawn(seed))
    assert split_sections(other) == split_sections(report)
    assert Counter(other.split()) == Counter(report.split())


def test_numbers_of_headers_stay_in_order_and_a_banner_first() -> None:
    report = "FINAL REPORT\n1. EXAM: Chest.\n2. FINDINGS: Clear.\n3. IMPRESSION: Normal."
    orders = {reorder_sections(report, drawn(seed)) for seed in range(60)}
    assert len(orders) == 6
    for order in orders:
        assert re.fullmatch(r"FINAL REPORT\n1\. \w+: \w+\.\n2\. \w+: \w+\.\n3\. \w+: \w+\.", order)


@pytest.mark.parametrize(
    "report",
    [
        "FINDINGS: Left nodule.\nIMPRESSION: Nodule as described above.",
        "FINDINGS: Left nodule described above.\nIMPRESSION: Nodule.",
        "FINDINGS: Clear. FINDINGS: Normal.",
        "Clear lungs.",
        "EXAM: Chest.\n2. FINDINGS: Clear.",
    ],
)
def test_sections_stay_where_one_points_at_another_or_places_are_unclear(report: str) -> None:
    assert {reorder_sections(report, drawn(seed)) for seed in range(20)} == {report}


# meaning -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("Left effusion.", "Left pleural effusion.", True),
        ("Left effusion.", "Right effusion.", False),
        ("Left effusion.", "No left effusion.", False),
        ("Left effusion.", "Possible left effusion.", False),
        ("Small left effusion.", "Large left effusion.", False),
        ("Right upper lobe nodule.", "Right lower lobe nodule.", False),
        ("RUL nodule.", "Nodule in the right upper lobe.", True),
        ("A 5 mm nodule.", "A 6 mm nodule.", False),
        ("Seen on 03/04/2019.", "Seen on 04/03/2019.", False),
        ("Lines on the left.", "Lines on the right.", False),
        ("Lungs at ribs 8-10.", "Lungs at ribs 10-8.", False),
        ("New effusion.", "Stable effusion.", False),
        ("FINDINGS: Nodule.", "IMPRESSION: Nodule.", False),
        ("On 2 L/min oxygen.", "On 2 liters per minute oxygen.", True),
        ("1. Nodule.\n2. Effusion.", "1. Effusion.\n2. Nodule.", True),
    ],
)
def test_meaning_is_findings_certainty_place_degree_and_numbers(before: str, after: str, same: bool) -> None:
    assert same_meaning(before, after) is same
