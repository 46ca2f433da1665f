"""Cardiomegaly, edema and emphysema: what has no side."""

from __future__ import annotations

from medvlp.phantom.prose.form import nouns, read_forms
from medvlp.phantom.prose.wording import Wording

__all__ = ["CARDIOMEGALY", "EDEMA", "EMPHYSEMA"]

CARDIOMEGALY = Wording(
    name="cardiomegaly",
    anatomy="heart",
    grades={"mild": ("mild",), "moderate": ("moderate",), "severe": ("severe", "marked")},
    named=nouns(
        """
        ~{severity} cardiomegaly
        ~{severity} enlargement of the cardiac silhouette
        ~{severity} cardiac enlargement
        """
    ),
    denied=("cardiomegaly", "cardiac enlargement"),
    forms=read_forms(
        "cardiomegaly/present",
        """
        The heart is {severely} enlarged.
        {severity} cardiomegaly.
        There is {severity} cardiomegaly.
        The cardiac silhouette is {severely} enlarged.
        {severity} enlargement of the cardiac silhouette is <seen|noted|present>.
        Heart size is {severely} increased.
        erect? The cardiothoracic ratio is increased at {ratio}, consistent with {severity} cardiomegaly.
        {severely} enlarged cardiac silhouette.
        {severity} cardiac enlargement.
        supine? The heart appears {severely} enlarged, allowing for the AP projection.
        Enlarged cardiac silhouette, in keeping with {severity} cardiomegaly.
        The cardiomediastinal silhouette is {severely} enlarged.
        """,
        """
        {severity} cardiomegaly is <present|seen>.
        There is {severity} enlargement of the heart.
        There is {a}{severely} enlarged heart.
        The cardiac silhouette shows {severity} enlargement.
        erect? {severity} cardiomegaly with a cardiothoracic ratio of {ratio}.
        There is {severity} cardiac enlargement.
        The cardiac silhouette is enlarged, consistent with {severity} cardiomegaly.
        Heart {severely} enlarged.
        The heart is enlarged, {severity} in degree.
        supine? {severity} cardiomegaly, allowing for AP technique.
        Increased heart size, {severity} cardiomegaly.
        Cardiomediastinal silhouette is {severely} increased in size.
        """,
    )
    + read_forms(
        "cardiomegaly/absent",
        """
        Heart size is normal.
        The heart is normal in size.
        No cardiomegaly.
        The cardiac silhouette is within normal limits.
        The cardiomediastinal silhouette is normal.
        The heart is not enlarged.
        Cardiac size and contours are normal.
        """,
        """
        Normal heart size.
        The cardiac silhouette is normal in size.
        There is no cardiomegaly.
        Heart size is within normal limits.
        Cardiomediastinal contours are normal.
        The cardiac silhouette is not enlarged.
        No evidence of cardiac enlargement.
        """,
    )
    + read_forms(
        "cardiomegaly/uncertain",
        """
        Heart size is at the upper limit of normal, {severity} cardiomegaly cannot be excluded.
        The heart may be {severely} enlarged.
        """,
        """
        Borderline heart size, possible {severity} cardiomegaly.
        The cardiac silhouette is possibly {severely} enlarged.
        """,
    ),
)

EDEMA = Wording(
    name="edema",
    anatomy="lungs",
    grades={"mild": ("mild",), "moderate": ("moderate",), "severe": ("severe",)},
    named=nouns(
        """
        ~{severity} pulmonary edema
        mild? ~{severity} pulmonary vascular congestion
        graded? ~{severity} interstitial pulmonary edema
        """
    ),
    denied=("pulmonary edema", "vascular congestion", "overt pulmonary edema"),
    forms=read_forms(
        "edema/present",
        """
        There is {severity} pulmonary edema.
        {severity} pulmonary edema.
        mild? {severity} pulmonary vascular congestion.
        mild? Upper lobe vascular redistribution, consistent with {severity} pulmonary edema.
        graded? {severity} interstitial pulmonary edema with Kerley B lines.
        graded? Septal lines and indistinct vessels, in keeping with {severity} pulmonary edema.
        severe? Bilateral perihilar airspace haze represents {severity} alveolar edema.
        Pulmonary vascular markings are prominent and indistinct, consistent with {severity} edema.
        {severity} edema is <seen|noted|present> in both lungs.
        {severity} pulmonary vascular congestion with edema.
        Findings of {severity} fluid overload with pulmonary edema.
        graded? Bilateral interstitial opacities are compatible with {severity} pulmonary edema.
        mild? The pulmonary vessels are engorged, {severity} congestion.
        """,
        """
        {severity} pulmonary edema is <present|seen>.
        mild? There is {severity} pulmonary vascular congestion.
        mild? {severity} vascular redistribution to the upper lobes, in keeping with edema.
        graded? Kerley B lines and {severity} interstitial edema.
        graded? Interstitial markings are prominent with septal lines, {severity} pulmonary edema.
        severe? {severity} alveolar edema with bilateral perihilar haze.
        Indistinct pulmonary vessels in both lungs represent {severity} edema.
        Pulmonary edema, {severity} in degree.
        Both lungs show {severity} pulmonary edema.
        Prominent vascular markings, consistent with {severity} congestion and edema.
        Pulmonary vascular congestion and {severity} edema, likely from fluid overload.
        graded? There is {severity} bilateral interstitial edema.
        mild? Engorged pulmonary vessels, consistent with {severity} vascular congestion.
        """,
    )
    + read_forms(
        "edema/absent",
        """
        There is no pulmonary edema.
        No pulmonary edema.
        Pulmonary vasculature is normal.
        No pulmonary vascular congestion.
        No evidence of pulmonary edema.
        The pulmonary vessels are normal without congestion.
        """,
        """
        No edema is seen.
        There is no evidence of pulmonary edema.
        Normal pulmonary vasculature.
        There is no vascular congestion.
        Pulmonary edema is absent.
        Pulmonary vascularity is within normal limits.
        """,
    )
    + read_forms(
        "edema/uncertain",
        """
        Slight vascular prominence may reflect {severity} congestion.
        Prominent vascular markings, possibly {severity} pulmonary edema.
        """,
        """
        Possible {severity} vascular congestion.
        The vascular markings are slightly prominent and {severity} edema cannot be excluded.
        """,
    ),
)

EMPHYSEMA = Wording(
    name="emphysema",
    anatomy="lungs",
    grades={"mild": ("mild",), "moderate": ("moderate",), "severe": ("severe", "advanced")},
    named=nouns(
        """
        ~{severity} emphysema
        ~{severity} emphysematous change
        ~{severity} pulmonary emphysema
        """
    ),
    denied=("emphysema", "hyperinflation"),
    forms=read_forms(
        "emphysema/present",
        """
        There is {severity} emphysema.
        {severity} emphysema.
        The lungs are hyperinflated, consistent with {severity} emphysema.
        {severity} emphysematous change is <seen|noted|present>.
        {severity} hyperinflation with flattened hemidiaphragms, in keeping with emphysema.
        Flattening of the hemidiaphragms reflects {severity} emphysema.
        {severity} hyperinflation consistent with chronic obstructive pulmonary disease.
        Hyperlucent lungs with {severity} emphysematous change.
        Both lungs show {severity} emphysema.
        Large lung volumes and flattened hemidiaphragms, {severity} emphysema.
        Findings of {severity} emphysema with increased lung volumes.
        The lungs are {severely} hyperinflated with changes of emphysema.
        """,
        """
        {severity} emphysema is <present|noted>.
        Hyperinflated lungs, in keeping with {severity} emphysema.
        There is {severity} emphysematous change in both lungs.
        The hemidiaphragms are flattened by {severity} hyperinflation, consistent with emphysema.
        {severely} hyperinflated lungs with flattened hemidiaphragms.
        Changes of chronic obstructive pulmonary disease with {severity} emphysema.
        The lungs are hyperlucent, {severity} emphysema.
        There is {severity} hyperinflation with increased lung volumes, reflecting emphysema.
        Emphysematous lungs, {severity} in degree.
        Emphysema, {severity}, with hyperlucent lungs.
        Lung volumes are large with {severity} emphysematous change.
        Increased lung volumes consistent with {severity} emphysema.
        """,
    )
    + read_forms(
        "emphysema/absent",
        """
        No emphysema.
        No evidence of emphysema.
        The lungs are not hyperinflated.
        There is no hyperinflation.
        No emphysematous change is seen.
        There is no emphysema.
        """,
        """
        There is no evidence of emphysema.
        No hyperinflation is seen.
        Emphysema is absent.
        There is no emphysematous change.
        No hyperinflation or emphysema.
        The lungs are without emphysematous change.
        """,
    )
    + read_forms(
        "emphysema/uncertain",
        """
        Lung volumes are slightly large, possibly {severity} emphysema.
        Slight hyperinflation may reflect {severity} emphysema.
        """,
        """
        Possible {severity} hyperinflation and emphysema.
        Slightly flattened hemidiaphragms, {severity} emphysema cannot be excluded.
        """,
    ),
)
