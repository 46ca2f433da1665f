"""Sentences that say two findings of one side, or of heart and lungs, at once."""

from __future__ import annotations

from medvlp.phantom.prose.form import SentenceForm, read_forms

__all__ = ["JOINTS"]

JOINTS: tuple[SentenceForm, ...] = (
    read_forms(
        "joint/effusion+atelectasis",
        """
        {severity} {side} pleural effusion[|s] with adjacent atelectasis.
        There [is|are] {a}{severity} {side} pleural effusion[|s] with associated atelectasis.
        {severity} {side} effusion[|s] and overlying atelectasis.
        {a}{severity} pleural effusion[|s] and atelectasis [is|are] seen {on_side}.
        Opacity at {the_base} reflects a combination of {severity} pleural effusion[|s] and atelectasis.
        """,
        """
        {severity} {sided} pleural effusion[|s] and adjacent atelectasis.
        There [is|are] {a}{severity} effusion[|s] {on_side} with overlying atelectasis.
        Atelectasis associated with {a}{severity} {side} pleural effusion[|s].
        {severity} pleural effusion[|s] with atelectasis {on_side}.
        {the_base} [shows|show] opacity from {severity} effusion[|s] and atelectasis.
        """,
    )
    + read_forms(
        "joint/effusion+pneumothorax",
        """
        {sided} hydropneumothorax[|es].
        There is a {sided} hydropneumothorax with {a}{severity} fluid component.
        {side} hydropneumothorax[|es] with pleural fluid and pleural air.
        {severity} {side} pleural effusion[|s] with pneumothorax on the same side.
        """,
        """
        {a}{sided} hydropneumothorax[|es] [is|are] present.
        {side} hydropneumothorax[|es], {severity} fluid component.
        {side} pneumothorax[|es] with {a}{severity} pleural effusion[|s], a hydropneumothorax.
        Both pleural air and {severity} fluid are present {on_side}, hydropneumothorax.
        """,
    )
    + read_forms(
        "joint/cardiomegaly+edema",
        """
        {severity} cardiomegaly with pulmonary edema.
        Enlarged cardiac silhouette with pulmonary vascular congestion, consistent with heart failure.
        The heart is {severely} enlarged and there is pulmonary edema.
        Cardiomegaly and pulmonary vascular congestion, in keeping with congestive heart failure.
        """,
        """
        There is {severity} cardiomegaly with pulmonary vascular congestion.
        Congestive heart failure with cardiomegaly and pulmonary edema.
        Pulmonary edema and {severity} enlargement of the cardiac silhouette.
        {severely} enlarged heart with pulmonary edema, consistent with heart failure.
        """,
    )
)
