"""Consolidation, nodule and atelectasis: what lies in a lobe."""

from __future__ import annotations

from medvlp.phantom.prose.form import nouns, read_forms
from medvlp.phantom.prose.wording import Wording

__all__ = ["ATELECTASIS", "CONSOLIDATION", "NODULE"]

CONSOLIDATION = Wording(
    name="consolidation",
    anatomy="lung",
    grades={
        "mild": ("mild", "subtle", "patchy"),
        "moderate": ("moderate", "confluent"),
        "severe": ("dense", "extensive", "severe"),
    },
    named=nouns(
        """
        ~{severity} {place} consolidation
        ~{severity} {place} airspace disease
        {severity} {place} airspace opacit[y|ies]
        {severity} {place} opacit[y|ies]
        """
    ),
    denied=("focal consolidation", "consolidation", "airspace opacity", "focal airspace disease"),
    forms=read_forms(
        "consolidation/present",
        """
        There is {severity} consolidation in {the_place}.
        {severity} {place} consolidation.
        {severity} airspace opacity is <seen|noted|present> in {the_place}.
        {severity} {place} airspace opacit[y|ies] with air bronchograms.
        {the_place} [shows|show] {severity} consolidation.
        There [is|are] {a}{severity} opacit[y|ies] in {the_place}, likely pneumonia.
        {severity} airspace disease in {the_place}.
        {severity} consolidation in {the_zone} is most consistent with pneumonia.
        {severity} opacification of {the_place} is present.
        {severity} opacity projects over {the_zone}, in keeping with consolidation.
        {severity} {place} airspace disease may reflect infection or aspiration.
        Consolidation involving {the_place}, {severity}.
        [An area|Areas] of {severity} consolidation [is|are] seen in {the_place}.
        """,
        """
        {the_place} [contains|contain] {severity} airspace opacity.
        {severity} consolidation is noted in {the_place}.
        {severity} opacity in {the_place}, consistent with consolidation.
        There is {severity} {place} airspace disease, likely pneumonia.
        {severity} consolidation with air bronchograms is present in {the_place}.
        {place} pneumonia with {severity} consolidation.
        {severity} airspace opacity involving {the_place}.
        {the_zone} [shows|show] {severity} airspace disease, suspicious for pneumonia.
        In {the_place} there is {severity} consolidation, consistent with pneumonia.
        There is {severity} opacification in {the_zone}, most consistent with consolidation.
        Airspace consolidation of {the_place}, {severity}.
        {a}{severity} opacit[y|ies] [projects|project] over {the_zone}, representing airspace disease.
        {severity} consolidation of {the_place} may reflect infection.
        """,
    )
    + read_forms(
        "consolidation/absent",
        """
        There is no focal consolidation.
        No focal consolidation.
        clear? The lungs are clear.
        No airspace opacity is seen.
        No evidence of consolidation or pneumonia.
        clear? Lungs are clear without consolidation.
        No focal airspace disease.
        """,
        """
        No consolidation is identified.
        clear? Both lungs are clear.
        There is no airspace disease.
        No focal opacity to suggest pneumonia.
        There is no evidence of pneumonia.
        No consolidation is seen in either lung.
        clear? Clear lungs, no focal consolidation.
        """,
    )
    + read_forms(
        "consolidation/uncertain",
        """
        {severity} opacity in {the_zone} may represent early pneumonia or atelectasis.
        Possible {severity} airspace opacity in {the_place}.
        """,
        """
        {severity} {place} opacity, possibly early consolidation.
        Early pneumonia in {the_place} cannot be excluded given {severity} opacity.
        """,
    ),
)

NODULE = Wording(
    name="nodule",
    anatomy="lung",
    grades={},
    named=nouns(
        """
        {place} <pulmonary|lung> nodule[|s]
        {place} nodule[|s]
        {size} {place} nodule[|s]
        {place} nodular opacit[y|ies]
        """
    ),
    denied=("pulmonary nodule", "lung nodule", "suspicious nodule", "pulmonary mass"),
    forms=read_forms(
        "nodule/present",
        """
        There [is|are] {a}{size} nodule[|s] in {the_place}.
        {size} {place} <pulmonary|lung> nodule[|s].
        {a}nodular opacit[y|ies] measuring {size} [projects|project] over {the_zone}.
        {a}rounded {size} opacit[y|ies] in {the_place} [represents|represent] {a}pulmonary nodule[|s].
        {the_place} [contains|contain] {a}nodule[|s] measuring {size}.
        {a}solitary {size} nodule is <seen|noted> in {the_place}.
        {a}well-defined {size} nodule[|s] [is|are] present in {the_zone}.
        {place} nodule[|s], {size} in diameter.
        Rounded opacity in {the_place}, {size}, suspicious for a lung nodule.
        {a}pulmonary nodule[|s] of approximately {size} [is|are] seen in {the_place}.
        {a}{place} nodular opacit[y|ies] [measures|measure] {size}.
        Solitary pulmonary nodule in {the_place}.
        """,
        """
        {a}{size} {place} nodule[|s] [is|are] present.
        {a}lung nodule[|s] in {the_place} [measures|measure] {size}.
        {the_zone} [shows|show] {a}rounded opacit[y|ies] of {size}, in keeping with {a}nodule[|s].
        Nodular opacity projecting over {the_zone}, {size} in diameter.
        In {the_place} there [is|are] {a}{size} pulmonary nodule[|s].
        {a}solitary nodule measuring approximately {size} is present in {the_place}.
        {a}rounded nodule[|s] [is|are] noted in {the_zone}, {size}.
        {size} nodular opacit[y|ies] in {the_place}.
        Pulmonary nodule[|s] in {the_place}, measuring {size}.
        There [is|are] {a}{place} lung nodule[|s], approximately {size} in diameter.
        Well-defined {place} nodule[|s] of {size}.
        {a}nodule[|s] [projects|project] over {the_place}.
        """,
    )
    + read_forms(
        "nodule/absent",
        """
        No pulmonary nodule.
        There is no suspicious pulmonary nodule.
        No nodule or mass is seen.
        No evidence of a lung nodule.
        There are no pulmonary nodules.
        No suspicious nodular opacity.
        """,
        """
        No lung nodule is identified.
        There is no nodule or mass.
        No pulmonary nodules are seen.
        No rounded opacity to suggest a nodule.
        There is no evidence of a pulmonary nodule.
        Pulmonary nodules are absent.
        """,
    )
    + read_forms(
        "nodule/uncertain",
        """
        {a}nodular density in {the_place} may represent {a}nodule[|s] or overlapping shadows.
        Possible {size} nodule[|s] in {the_place}.
        """,
        """
        {a}rounded density over {the_zone}, possibly {a}pulmonary nodule[|s].
        Overlapping shadows or {a}nodule[|s] in {the_place}.
        """,
    ),
)

ATELECTASIS = Wording(
    name="atelectasis",
    anatomy="lung",
    grades={"mild": ("mild", "minor", "minimal"), "moderate": ("moderate",), "severe": ("severe", "marked")},
    named=nouns(
        """
        ~{severity} {place} atelectasis
        plate? ~{severity} {place} <linear|plate-like|subsegmental> atelectasis
        collapse? ~{place} collapse
        collapse? ~{place} atelectasis with volume loss
        """
    ),
    denied=("atelectasis", "lobar collapse", "volume loss"),
    forms=read_forms(
        "atelectasis/present",
        """
        There is {severity} {place} atelectasis.
        {severity} atelectasis in {the_place}.
        plate? {severity} <linear|plate-like|subsegmental> atelectasis in {the_zone}.
        plate? Linear opacity in {the_place} is consistent with {severity} atelectasis.
        plate? {severity} {place} linear atelectasis is <seen|noted>.
        plate? [A band|Bands] of {severity} atelectasis [crosses|cross] {the_place}.
        collapse? {the_place} [is|are] collapsed with volume loss.
        collapse? Collapse of {the_place} with elevation of {the_diaphragm}.
        collapse? {severity} volume loss and opacity in {the_place}, in keeping with atelectasis.
        {severity} atelectasis is <present|noted> in {the_zone}.
        {the_place} [shows|show] {severity} atelectasis.
        plate? Plate-like opacity in {the_zone} reflects {severity} atelectasis.
        {severity} {place} volume loss consistent with atelectasis.
        """,
        """
        {severity} {place} atelectasis is present.
        There is {severity} atelectasis in {the_zone}.
        plate? {the_zone} [shows|show] {severity} linear atelectasis.
        plate? Plate-like atelectasis in {the_place}, {severity}.
        plate? [A linear opacity|Linear opacities] [crosses|cross] {the_zone}, in keeping with {severity} atelectasis.
        plate? {severity} subsegmental atelectasis is seen in {the_place}.
        collapse? Volume loss with collapse of {the_place}.
        collapse? There is collapse of {the_place} and {the_diaphragm} [is|are] elevated.
        collapse? {place} opacity with {severity} volume loss represents atelectasis.
        Atelectasis of {the_place}, {severity}.
        {severity} atelectatic change in {the_place}.
        In {the_place} there is {severity} atelectasis.
        plate? {severity} atelectasis seen as a linear band in {the_place}.
        """,
    )
    + read_forms(
        "atelectasis/absent",
        """
        No atelectasis.
        There is no atelectasis.
        No evidence of lobar collapse.
        No atelectasis is seen.
        No volume loss to suggest atelectasis.
        clear? The lungs are well expanded without atelectasis.
        """,
        """
        No atelectasis is identified.
        There is no evidence of atelectasis.
        No lobar collapse or volume loss.
        Atelectasis is absent.
        No linear atelectasis at the lung bases.
        clear? Both lungs are well expanded, no atelectasis.
        """,
    )
    + read_forms(
        "atelectasis/uncertain",
        """
        {severity} linear opacity in {the_zone}, possibly atelectasis or scarring.
        {severity} opacity in {the_place} may represent atelectasis.
        """,
        """
        {severity} atelectasis or scarring in {the_zone}.
        Linear density in {the_place}, which may reflect {severity} atelectasis.
        """,
    ),
)
