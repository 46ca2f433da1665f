from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.text.facts import facts_of
from medvlp.text.labels import label_report
from medvlp.text.mentions import read_report, sentences_of_image
from medvlp.text.sections import ReportText, report_text, section_spans, split_sections

MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  None.

 FINDINGS:

 There is no focal consolidation, pleural effusion or pneumothorax.  Bilateral
 nodular opacities that most likely represent nipple shadows.

 IMPRESSION:

 No acute cardiopulmonary process.
"""


def test_a_report_with_indented_headers_and_a_banner_is_split() -> None:
    sections = split_sections(MIMIC)
    assert list(sections) == ["exam", "indication", "technique", "comparison", "findings", "impression"]
    assert sections["comparison"] == "None."
    assert sections["findings"].endswith("Bilateral\nnodular opacities that most likely represent nipple shadows.")
    assert sections["impression"] == "No acute cardiopulmonary process."


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS: Clear lungs.\n\nIMPRESSION: Normal.",
        "Findings: Clear lungs.\nImpression: Normal.",
        "FINDINGS\nClear lungs.\n\nIMPRESSION\nNormal.",
        "Findings\r\nClear lungs.\r\nConclusion\r\nNormal.",
        "FINDINGS - Clear lungs.\nIMPRESSION - Normal.",
        "FINDINGS -- Clear lungs.\nIMPRESSION -- Normal.",
        "1. FINDINGS: Clear lungs.\n2. IMPRESSION: Normal.",
        "**Findings:** Clear lungs.\n**Impression:** Normal.",
        "## Findings\nClear lungs.\n## Impression\nNormal.",
        "REPORT: Clear lungs. CONCLUSION: Normal.",
        "FINDINGS: Clear lungs. IMPRESSION: Normal.",
        "Findings: Clear lungs. Impression: Normal.",
        "findings: Clear lungs.\nimpression: Normal.",
        "findings\nClear lungs.\nimpression\nNormal.",
        "findings\r\n\r\nClear lungs.\r\n\r\nimpression\r\n\r\nNormal.",
        "FINDINGS: Clear lungs.\nIMPRESSION AND RECOMMENDATION: Normal.",
        "FINDINGS: Clear lungs.\nIMPRESSION/RECOMMENDATION(S): Normal.",
        "PA AND LATERAL VIEWS OF THE CHEST: Clear lungs.\nIMPRESSION: Normal.",
        "\ufeffFINDINGS: Clear lungs.\nIMPRESSION: Normal.",
        "FINDINGS: Clear lungs.\n".join((" " * 20_000, "\t" * 20_000)) + "IMPRESSION: Normal.",
    ],
)
def test_every_header_convention_gives_the_same_sections(text: str) -> None:
    assert split_sections(text) == {"findings": "Clear lungs.", "impression": "Normal."}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("REASON FOR EXAM", "indication"),
        ("CLINICAL HISTORY", "indication"),
        ("CLINICAL DETAILS", "indication"),
        ("Clinical information", "indication"),
        ("CLINICAL STATEMENT", "indication"),
        ("CLINICAL", "indication"),
        ("CLINICAL DATA", "indication"),
        ("Reason for this examination", "indication"),
        ("PRIOR STUDIES", "comparison"),
        ("OBSERVATIONS", "findings"),
        ("Radiographic findings", "findings"),
        ("CONCLUSIONS", "impression"),
        ("INTERPRETATION", "impression"),
        ("ADVICE", "recommendation"),
        ("Addenda", "addendum"),
        ("Wet read", "other"),
        ("PROCEDURE", "exam"),
        ("OPINION", "impression"),
        ("RECOMMENDATION(S)", "recommendation"),
        ("ADDENDUM", "addendum"),
        ("Imaging findings", "findings"),
        ("RESULT", "findings"),
        ("Narrative", "findings"),
        ("Reason", "indication"),
        ("NOTIFICATION", "other"),
    ],
)
def test_titles_have_canonical_names(title: str, name: str) -> None:
    assert split_sections(f"{title}: Some words.") == {name: "Some words."}


def test_words_of_ordinary_sentences_are_no_headers() -> None:
    text = "FINDINGS: In comparison with the prior study, findings are unchanged. The impression is of edema."
    assert list(split_sections(text)) == ["findings"]


def test_names_of_anatomy_stay_in_their_section() -> None:
    text = "FINDINGS:\nLUNGS: Clear.\nLINES, TUBES AND DEVICES: None.\nHEART: Normal.\nIMPRESSION: Normal."
    sections = split_sections(text)
    assert sections["findings"] == "LUNGS: Clear.\nLINES, TUBES AND DEVICES: None.\nHEART: Normal."
    assert sections["impression"] == "Normal."


def test_lymph_nodes_and_what_is_listed_behind_them_are_findings() -> None:
    listed = "LUNGS: Clear.\nLYMPH NODES: No adenopathy.\nCHEST WALL: Normal.\nBONES: Old rib fracture."
    assert split_sections(f"FINDINGS:\n{listed}\nIMPRESSION: Normal.") == {"findings": listed, "impression": "Normal."}


def test_a_list_of_findings_in_capitals_is_no_list_of_headers() -> None:
    listed = "PLEURAL EFFUSION: NONE\nPNEUMOTHORAX: NONE\nRIB FRACTURES: LEFT"
    assert split_sections(f"{listed}\nNOTIFICATION: By phone.") == {"": listed, "other": "By phone."}


def test_numbered_impressions_are_one_section() -> None:
    assert (
        split_sections("IMPRESSION: 1. Edema.\n2. No pneumothorax.")["impression"] == "1. Edema.\n2. No pneumothorax."
    )


@pytest.mark.parametrize("header", ["IMPRESSION: ", "IMPRESSION:\n"])
def test_a_numbered_impression_goes_on_behind_the_recommendation_of_an_item(header: str) -> None:
    read = split_sections(f"{header}1. Nodule.\nRecommendation: CT.\n2. Effusion.\nRecommendation: Tap.\n3. Edema.")
    assert read == {"impression": "1. Nodule.\n2. Effusion.\n3. Edema.", "recommendation": "CT.\nTap."}
    for own in ("IMPRESSION: Nodule.\nRECOMMENDATIONS:\n1. CT.\n2. Tap.", "IMPRESSION: 1. A.\nADVICE:\n2. CT."):
        assert split_sections(own)["recommendation"].endswith(own.partition("\n")[2].partition("\n")[2])


def test_a_section_that_comes_twice_is_joined_and_an_empty_one_left_out() -> None:
    text = "FINDINGS: Clear.\nTECHNIQUE:\nIMPRESSION: Normal.\nIMPRESSION: No change."
    assert split_sections(text) == {"findings": "Clear.", "impression": "Normal.\nNo change."}


def test_text_before_the_first_header_is_kept() -> None:
    assert split_sections("Portable film.\nFINDINGS: Clear.") == {"": "Portable film.", "findings": "Clear."}
    assert split_sections("No effusion.") == {"": "No effusion."}
    assert split_sections(" \n ") == {}


def test_paragraphs_behind_the_opening_sections_are_the_findings_of_a_report_without_that_header() -> None:
    text = "FINAL REPORT\nINDICATION: Cough.\n\nCOMPARISON: None.\n\nSmall left effusion. No edema.\n\nNormal heart."
    assert split_sections(text) == {
        "indication": "Cough.",
        "comparison": "None.",
        "findings": "Small left effusion. No edema.\nNormal heart.",
    }
    assert split_sections("INDICATION: Cough.\n\nFever.") == {"indication": "Cough.\nFever."}
    ends = "IMPRESSION: Normal."
    assert split_sections(f"COMPARISON: None.\n\nNo edema.\nLungs.\n\n{ends}")["findings"] == "No edema.\nLungs."
    assert "findings" not in split_sections(f"COMPARISON: None.\n\n{ends}")
    assert "findings" not in split_sections(f"COMPARISON: None.\n\nTwo words.\n\n{ends}")
    assert "findings" not in split_sections(f"HISTORY: Cough.\n\nPneumonia in the past.\n\n{ends}")


@pytest.mark.parametrize(
    "line", ["Lungs: Clear lungs.", "LUNGS/AIRWAYS: Clear lungs.", "Heart and mediastinum: Normal size."]
)
@pytest.mark.parametrize("opening", ["INDICATION: Cough.", "INDICATION: Cough.\nTECHNIQUE: Two views."])
def test_lines_that_begin_with_organs_are_the_findings_of_a_report_without_that_header(opening: str, line: str) -> None:
    body = f"{line}\nPleura: No effusion."
    for end in ("", "\nIMPRESSION: No mass."):
        assert split_sections(f"{opening}\n{body}{end}")["findings"] == body
        assert split_sections(f"{opening}\nLung cancer: 2015. Heart failure: yes.{end}").get("findings") is None
    assert split_sections(f"COMPARISON: None.\n\nNo mass is seen.\n{body}")["findings"] == f"No mass is seen.\n{body}"


def test_sentences_right_before_the_impression_are_the_findings_of_a_report_without_that_header() -> None:
    text = "Large left effusion. Heart normal\n\nConclusion: As above."
    assert split_sections(text) == {"findings": "Large left effusion. Heart normal", "impression": "As above."}
    labels = label_report(text, "chexpert14")  # was a study without finding
    assert (labels["effusion"], labels["cardiomegaly"], labels["no_finding"]) == (1.0, 0.0, None)
    title = split_sections("XR CHEST 12.3.2020\nIMPRESSION: Normal.")
    assert title == {"": "XR CHEST 12.3.2020", "impression": "Normal."}
    assert split_sections("Film. FINDINGS: Clear. IMPRESSION: Normal.")["findings"] == "Clear."


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("Findings: Clear.\nSummary\nNormal.", {"findings": "Clear.", "impression": "Normal."}),
        ("Any pneumonia? Findings: Clear.", {"": "Any pneumonia?", "findings": "Clear."}),
        ("FINDINGS: Clear.Impression: Normal.", {"findings": "Clear.", "impression": "Normal."}),
        ("Findings—Clear.", {"findings": "Clear."}),
        ("Findings/impression: Clear.", {"findings": "Clear."}),
        ("FINDINGS: Clear, without\nhistory\nof mass.", {"findings": "Clear, without\nhistory\nof mass."}),
        ("FINDINGS: Clear.\nCRITICAL RESULT: Mass.", {"findings": "Clear.", "other": "CRITICAL RESULT: Mass."}),
    ],
)
def test_a_title_is_a_header_by_where_it_stands(text: str, sections: dict[str, str]) -> None:
    assert split_sections(text) == sections


def test_findings_go_on_behind_a_comparison_in_one_of_their_lines() -> None:
    report = "FINDINGS: Small effusion. COMPARISON: CT of 2019. The heart is enlarged.\nIMPRESSION: Effusion."
    assert split_sections(report) == {
        "findings": "Small effusion.\nThe heart is enlarged.",
        "comparison": "CT of 2019.",
        "impression": "Effusion.",
    }
    apart = "FINDINGS: Small effusion.\nCOMPARISON: CT of 2019. It showed a nodule.\nIMPRESSION: Effusion."
    assert split_sections(apart)["comparison"] == "CT of 2019. It showed a nodule."


def test_sections_keep_their_places_in_the_report() -> None:
    text = "  FINAL REPORT\r\nFINDINGS: Clear.\r\nTECHNIQUE: PA.\r\nFINDINGS: Normal."
    said = [(name, text[start:end].strip()) for name, start, end in section_spans(text)]
    assert said == [("findings", "Clear."), ("technique", "PA."), ("findings", "Normal.")]


@given(st.text(alphabet=st.sampled_from("FINDINGS:impression -.\n1 Aa"), max_size=80))
def test_no_word_is_lost_but_headers(text: str) -> None:
    kept = "".join(split_sections(text).values())
    letters = set(re.sub(r"\W", "", kept))
    assert letters <= set(text)
    assert len(kept) <= len(text)


def test_report_text_takes_the_wanted_sections_and_tells_which() -> None:
    text = "INDICATION: Cough.\nIMPRESSION: Normal.\nFINDINGS: Clear."
    assert report_text(text) == ReportText("Clear.\n\nNormal.", ("findings", "impression"), fell_back=False)
    assert report_text("INDICATION: Cough.\nIMPRESSION: Normal.").used == ("impression",)


def test_an_addendum_belongs_to_the_impression_that_it_amends() -> None:
    text = "FINDINGS: Clear.\nIMPRESSION: Normal.\nADDENDUM: Small left pneumothorax."
    for header in (
        "ADDENDUM:", "ADDENDUM 1:", "ADDENDUM BY DR WHO:", "ADDENDUM #2:", "Addendum (1/2/2020):", "*** Addendum ***",
        "ADDENDUM BEGINS\n", "ADDENDUM #1 (1/2/2020 10:22):", "Addendum by Dr. Who, 1/2/2020:",
    ):  # fmt: skip
        amended = text.replace("ADDENDUM:", header)
        assert report_text(amended).used == ("findings", "impression", "addendum")
        assert [(each.finding, each.presence) for each in read_report(amended)][-1] == ("pneumothorax", "present")
        first = report_text(f"{header} Small left pneumothorax.\nFINDINGS: Clear.\nIMPRESSION: Normal.")
        assert first.used == ("findings", "impression", "addendum")
    assert report_text(text, ("impression",)).text == "Normal.\n\nSmall left pneumothorax."
    assert report_text(text, ("findings",)) == ReportText("Clear.", ("findings",), fell_back=False)
    alone = report_text("Clear lungs.\nADDENDUM: Small left pneumothorax.")
    assert alone == ReportText("Clear lungs.\n\nSmall left pneumothorax.", ("", "addendum"), fell_back=True)


def test_report_text_says_that_it_fell_back() -> None:
    assert report_text("Clear lungs.") == ReportText("Clear lungs.", ("",), fell_back=True)
    assert report_text("FINDINGS: Clear.", ("impression",)) == ReportText("Clear.", ("findings",), fell_back=True)
    only = report_text("INDICATION: Cough.")
    assert only == ReportText("INDICATION: Cough.", ("indication",), fell_back=True)


@pytest.mark.parametrize(
    "end",
    [
        "\v",
        "\f",
        "\n\f",
        "\x85",
        "\u2028",
        "\u2029",
        "\\n",
        "\\r\\n",
        "\\.br\\",
        "~",
        "~~",
        "\\X0D\\\\X0A\\",
        "<br/>",
        "</p><p>",
    ],
)
@pytest.mark.parametrize("blank", [" ", "\xa0", "\u202f", "&nbsp;"])
def test_line_ends_and_blanks_of_documents_pages_and_hl7_part_sections_as_plain_ones_do(end: str, blank: str) -> None:
    report = "Clinical history: pneumonia.\nFindings: No pleural effusion\nImpression: Left pneumothorax."
    written = report.replace(" ", blank).replace("\n", end)
    sections = {name: " ".join(body.split()) for name, body in split_sections(written).items()}
    assert sections == split_sections(report)
    said = [(m.finding, m.presence, m.side) for m in read_report(written)]
    assert said == [("effusion", "absent", ""), ("pneumothorax", "present", "left")]  # and no pneumonia
    assert facts_of(written) == facts_of(report)
    assert [" ".join(sentence.split()) for sentence in sentences_of_image(written)][-1] == "Left pneumothorax."


def test_tags_inside_a_line_and_soft_hyphens_are_no_words() -> None:
    report = '<b>FINDINGS:</b> No pleural effu\xadsion. <span style="x">Pneumo\xadthorax < 5 mm and > 2 mm</span>.'
    assert split_sections(report)["findings"].startswith("No pleural effusion.")
    assert [(m.finding, m.presence) for m in read_report(report)] == [
        ("effusion", "absent"),
        ("pneumothorax", "present"),
    ]


@pytest.mark.parametrize("page", ["Page 1 of 2", "  - page 1/2 -", "PAGE: 1", "(Page 1 of 2)"])
@pytest.mark.parametrize("gap", ["\n", "\n\n", "\n\f"])
def test_the_number_of_a_page_parts_no_sentence(page: str, gap: str) -> None:
    report = f"FINDINGS: There is no{gap}{page}{gap}pneumothorax. Cardiomegaly{gap}{page}{gap}Effusion."
    told = [(m.finding, m.presence, " ".join(m.sentence.split())) for m in read_report(report)]
    assert told == [
        ("pneumothorax", "absent", "There is no pneumothorax."),
        ("cardiomegaly", "present", "Cardiomegaly"),
        ("effusion", "present", "Effusion."),
    ]
    assert all(report[m.start : m.end] == m.text for m in read_report(report))
    assert "age" not in split_sections(report)["findings"]
    prose = split_sections(f"Indication: Cough.\n\n{page}\n\nlungs are clear and the heart is normal.")
    assert prose["findings"] == "lungs are clear and the heart is normal."


@pytest.mark.parametrize("end", ["-\n", "-  \n  ", "\u2010\r\n", "\xad\n"])
@pytest.mark.parametrize(
    ("report", "wanted"),
    [
        ("Small left effu-sion.", ("effusion", "present", "left")),
        ("There is no pneumo-thorax.", ("pneumothorax", "absent", "")),
        ("Effusion is not visu-alized.", ("effusion", "absent", "")),
        ("Small left-sided effusion.", ("effusion", "present", "left")),
    ],
)
def test_a_known_word_that_a_line_end_parts_is_one_word(report: str, wanted: tuple[str, str, str], end: str) -> None:
    found = read_report(report.replace("-", end))
    assert [(m.finding, m.presence, m.side) for m in found] == [wanted]


def test_the_text_taken_for_a_missing_section_is_the_first_of_opening_findings_impression_addendum_and_other() -> None:
    lines = ["Chest film.", "FINDINGS: Clear.", "IMPRESSION: Normal.", "ADDENDUM: More.", "NOTIFICATION: Called."]
    chosen = [report_text("\n".join(lines[first:]), ("comparison",)).used for first in range(len(lines))]
    assert [used[0] for used in chosen] == ["", "findings", "impression", "addendum", "other"]


def test_paragraphs_of_another_section_are_no_findings_where_the_report_has_some() -> None:
    sections = split_sections("FINDINGS: Clear.\nTECHNIQUE: PA.\n\nSome more words here.\nIMPRESSION: Normal.")
    assert sections == {"findings": "Clear.", "technique": "PA.\nSome more words here.", "impression": "Normal."}
