"""``medvlp score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medvlp.evaluation.results import Result

_Predictions = Annotated[
    Path,
    typer.Argument(
        help="CSV or Parquet with the columns id, patient_id, label:NAME (1, 0, -1 uncertain, blank missing) and "
        "score:NAME, and if you like split, group:NAME and synthetic (1); or with reports: reference, written and, if "
        "known, has_prior; or a results.json, to make its numbers again."
    ),
]
_Fit = Annotated[
    Path | None,
    typer.Option(
        help="Validation predictions: thresholds and calibration are chosen on them. Default: the rows "
        "whose split is validate."
    ),
]
_Points = Annotated[
    list[str] | None,
    typer.Option(
        help="Threshold rule, such as sensitivity_0.9 or cost_5; may be repeated. Default: youden, sensitivity_0.9, "
        "specificity_0.95, max_f1."
    ),
]
_Prevalences = Annotated[
    list[float] | None,
    typer.Option(help="Prevalence for predictive values; may be repeated. Default: 0.01, 0.05, 0.2."),
]
_Interval = Annotated[
    str | None, typer.Option(help="Of what is bootstrapped: percentile, bca or logit. Default: logit.")
]


def score(
    predictions: _Predictions,
    out: Annotated[Path, typer.Option(help="The results, a .json file; cases and page are written beside it.")] = Path(
        "results.json"
    ),
    fit: _Fit = None,
    table: Annotated[
        list[Path] | None, typer.Option(help="Also write the table as .md, .tex or .csv; may be repeated.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="The page. Default: the results' name with .html.")] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no page.")] = False,
    point: _Points = None,
    prevalence: _Prevalences = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="Column of the tables: FIELD=COLUMN, e.g. patient_id=PatientID."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV: cp1252 where Windows wrote it.")] = "utf-8-sig",
    policy: Annotated[
        str, typer.Option(help="Uncertain labels: u_ignore leaves them out, u_zeros, u_ones.")
    ] = "u_ignore",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The scores are probabilities: measure their calibration as it is.")
    ] = False,
    interval: _Interval = None,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples of patients.")] = 2000,
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    min_positives: Annotated[
        int, typer.Option(min=1, help="Positive rows that a finding needs to take part in an average.")
    ] = 1,
    min_group: Annotated[
        int, typer.Option(min=2, help="Patients with a finding, and without it, that a group needs for any number.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    name: Annotated[str, typer.Option(help="Words for the result.")] = "",
    vocabulary: Annotated[
        str | None, typer.Option(help="Of reports: whose findings are counted; default: chexpert14.")
    ] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="The data is synthetic: say so on the page.")] = False,
) -> None:
    """Judge anybody's predictions or reports. Writes results.json, page and tables, all with intervals."""
    from medvlp.core.errors import ConfigError
    from medvlp.core.files import check_outputs
    from medvlp.evaluation.predictions import check_policy
    from medvlp.evaluation.results import write_result
    from medvlp.evaluation.scoring.options import ScoreOptions
    from medvlp.evaluation.tables import check_table_path, score_table, write_table
    from medvlp.pages.run_folder import write_report_page
    from medvlp.statistics.intervals import DEFAULT_FORM, check_form

    if out.suffix != ".json":
        raise ConfigError(f"The results {out} are written as JSON: give --out a file name that ends in .json.")
    if no_page and page is not None:
        raise ConfigError("--page and --no-page exclude each other: leave one of them out.")
    target, usual = page or out.with_suffix(".html"), ScoreOptions()
    written = [out, out.with_suffix(".parquet"), *(table or []), *([] if no_page else [target])]
    check_outputs(written, inputs=[predictions, *([] if fit is None else [fit])])
    for path in table or []:
        check_table_path(path)
    options = ScoreOptions(
        seed=seed,
        resamples=resamples,
        level=level,
        interval=DEFAULT_FORM if interval is None else check_form(interval),
        policy=check_policy(policy),
        min_positives=min_positives,
        min_group=min_group,
        points=tuple(dict.fromkeys(point or usual.points)),
        prevalences=tuple(dict.fromkeys(prevalence or usual.prevalences)),
        probabilities=probabilities,
    )
    given: dict[str, Any] = {"options": options, "title": name, "synthetic": synthetic, "encoding": encoding}
    result, reports = _result(predictions, fit, columns or [], vocabulary, given)
    for path in table or []:
        write_table(score_table(result), path)
    write_result(result, out)
    typer.echo(f"The numbers are in {out}.")
    _echo_remarks(result, reports=reports)
    if not no_page:
        write_report_page(out, target)
        typer.echo(f"Open {target}")


def _result(
    predictions: Path, fit: Path | None, columns: list[str], vocabulary: str | None, given: dict[str, Any]
) -> tuple[Result, bool]:
    """Score a file of predictions or of reports, or make a results file again; say whether it held reports."""
    from medvlp.core.errors import ConfigError
    from medvlp.data.text_table import parse_columns
    from medvlp.evaluation.results import load_result
    from medvlp.evaluation.scoring.files import score_file, score_reports
    from medvlp.evaluation.scoring.options import ScoreOptions
    from medvlp.evaluation.scoring.score import recompute

    given["columns"] = parse_columns(columns, short=False)
    if predictions.suffix != ".json":
        texts = score_reports(predictions, vocabulary=vocabulary or "chexpert14", **given) if fit is None else None
        if texts is None and vocabulary is not None:
            raise ConfigError(
                f"{predictions} holds no reports, of which alone --vocabulary says anything: leave it out."
            )
        return (score_file(predictions, fit=fit, **given), False) if texts is None else (texts, True)
    usual = {"options": ScoreOptions(), "title": "", "synthetic": False, "encoding": "utf-8-sig", "columns": {}}
    if fit is not None or vocabulary is not None or given != usual:
        raise ConfigError(
            f"{predictions} is made again as it was made, so no options go with it: score its predictions "
            f"(the .parquet file beside it) to change them."
        )
    return recompute(load_result(predictions)), False


def _echo_remarks(result: Result, *, reports: bool) -> None:
    from medvlp.evaluation.words import spoken, undefined_auroc

    for sentence in (*result.caveats, *undefined_auroc(result)):
        typer.echo(sentence)
    for flag in result.flags:
        typer.echo(f"Flag: {flag.sentence}")
    calibrated = {} if result.cases is None else {name: result.cases[f"score:{name}"] for name in result.fitted}
    if percent := [name for name, each in calibrated.items() if each.min() >= 0 and 1 < each.max() <= 100]:
        typer.echo(f"The scores of {spoken(percent)} are taken for log-odds: of percentages, give the hundredth part.")
    if not result.fitted and not reports:
        typer.echo(
            "There are no validation rows (a split called validate, or --fit), so there are no thresholds and no "
            "calibration; the oracle_ rows were tuned on the test cases and are no result."
        )
