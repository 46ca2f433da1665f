"""What is said beside the findings: normal anatomy, the empty conclusion, advice."""

from __future__ import annotations

from medvlp.phantom.prose.form import SentenceForm, read_forms

__all__ = ["NORMAL"]

_ANATOMY = (
    read_forms(
        "normal/trachea",
        """
        midline? The trachea is midline.
        midline? Trachea is central.
        midline? The trachea and mediastinum are midline.
        """,
        """
        midline? Midline trachea.
        midline? The trachea is central and midline.
        midline? Trachea and mediastinum are central.
        """,
    )
    + read_forms(
        "normal/mediastinum",
        """
        mediastinum? Mediastinal contours are normal.
        mediastinum? The mediastinum is within normal limits.
        mediastinum? The hilar and mediastinal contours are unremarkable.
        mediastinum? Hilar contours are normal.
        """,
        """
        mediastinum? Normal mediastinal contours.
        mediastinum? The mediastinal and hilar contours are within normal limits.
        mediastinum? The mediastinum is unremarkable.
        mediastinum? The hila are normal.
        """,
    )
    + read_forms(
        "normal/abdomen",
        """
        The upper abdomen is unremarkable.
        No free air under the diaphragm.
        Visualized upper abdomen is within normal limits.
        """,
        """
        Unremarkable upper abdomen.
        There is no free air below the diaphragm.
        The visualized upper abdomen is normal.
        """,
    )
    + read_forms(
        "normal/soft_tissue",
        """
        Soft tissues are unremarkable.
        The soft tissues of the chest wall are normal.
        """,
        """
        Normal soft tissues.
        The soft tissues are unremarkable.
        """,
    )
    + read_forms(
        "normal/spine",
        """
        old,bones? Mild degenerative changes of the thoracic spine.
        old,bones? Degenerative changes are seen in the spine.
        """,
        """
        old,bones? There are mild degenerative changes in the thoracic spine.
        old,bones? Spine shows degenerative changes.
        """,
    )
    + read_forms(
        "normal/volumes",
        """
        volumes? Lung volumes are normal.
        volumes? The lungs are well inflated.
        volumes? The lungs are well expanded.
        """,
        """
        volumes? Normal lung volumes.
        volumes? Both lungs are well inflated.
        volumes? Lungs are well expanded and inflated.
        """,
    )
    + read_forms(
        "normal/diaphragm",
        """
        diaphragm? The hemidiaphragms are well defined.
        diaphragm? Diaphragm contours are normal.
        """,
        """
        diaphragm? Both hemidiaphragms are well defined.
        diaphragm? Normal contours of the hemidiaphragms.
        """,
    )
    + read_forms(
        "normal/aorta",
        """
        The thoracic aorta is unremarkable.
        Aortic contour is normal.
        """,
        """
        Normal aortic contour.
        The aorta is unremarkable.
        """,
    )
)

_CONCLUSION = read_forms(
    "impression/normal",
    """
    No acute cardiopulmonary abnormality.
    No acute cardiopulmonary process.
    bare? Normal chest radiograph.
    No acute disease.
    No radiographic evidence of acute cardiopulmonary disease.
    No acute findings.
    No acute intrathoracic abnormality.
    """,
    """
    No acute cardiopulmonary disease.
    bare? Normal radiograph of the chest.
    No evidence of acute cardiopulmonary process.
    No acute abnormality.
    No acute intrathoracic process.
    Chest radiograph without acute findings.
    There is no acute cardiopulmonary abnormality.
    """,
)

_ADVICE = (
    read_forms(
        "advice/nodule",
        """
        film? CT of the chest is recommended for further evaluation of the nodule.
        film? Recommend chest CT for further characterization.
        """,
        """
        film? Further evaluation with chest CT is recommended.
        film? CT is recommended for characterization of the nodule.
        """,
    )
    + read_forms(
        "advice/consolidation",
        """
        film? Recommend follow-up radiograph in 6 weeks to ensure clearing.
        film? Follow-up chest radiograph after treatment is recommended.
        """,
        """
        film? Follow-up radiograph in 6 weeks is recommended to ensure clearing.
        film? Recommend radiograph after treatment.
        """,
    )
    + read_forms(
        "advice/pneumothorax",
        """
        Findings were communicated to the referring team by telephone.
        The referring team was informed.
        """,
        """
        Findings were communicated to the referring team.
        The referring team was informed by telephone.
        """,
    )
)

NORMAL: tuple[SentenceForm, ...] = _ANATOMY + _CONCLUSION + _ADVICE
