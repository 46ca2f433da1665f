"""Rib fracture, pacemaker, central line and endotracheal tube."""

from __future__ import annotations

from medvlp.phantom.prose.form import nouns, read_forms
from medvlp.phantom.prose.wording import Wording

__all__ = ["CENTRAL_LINE", "ENDOTRACHEAL_TUBE", "PACEMAKER", "RIB_FRACTURE"]

RIB_FRACTURE = Wording(
    name="rib_fracture",
    anatomy="rib",
    grades={},
    named=nouns(
        """
        {side} rib fracture[|s]
        {displaced} {side} rib fracture[|s]
        fracture[|s] of the {side} {rib} rib[|s]
        {side} {rib} rib fracture[|s]
        """
    ),
    denied=("rib fracture", "displaced rib fracture", "acute rib fracture"),
    forms=read_forms(
        "rib_fracture/present",
        """
        There [is|are] {a}{displaced} {side} {rib} rib fracture[|s].
        {displaced} {side} rib fracture[|s].
        {displaced} fracture[|s] of the {side} {rib} rib[|s].
        {a}fracture[|s] of the {side} {rib} rib[|s] [is|are] <seen|noted|present>.
        Fracture[|s] of the {side} {rib} rib[|s], displaced by [|up to ]{size}.
        {side} {rib} rib fracture[|s].
        The {side} {rib} rib[|s] [is|are] fractured with [|up to ]{size} of displacement.
        {a}{displaced} rib fracture[|s] [is|are] seen {on_side}.
        Acute {displaced} fracture[|s] involving the {side} {rib} rib[|s].
        [A cortical step|Cortical steps] in the {side} {rib} rib[|s], consistent with {a}{displaced} fracture[|s].
        {the_ribs} [shows|show] {a}{displaced} fracture[|s].
        {sided} rib fracture[|s] with displacement of the fragments.
        """,
        """
        {a}{displaced} {side} rib fracture[|s] [is|are] present.
        {displaced} rib fracture[|s] {on_side}.
        Acute fracture[|s] of the {side} {rib} rib[|s].
        There [is|are] {a}{displaced} fracture[|s] of the {side} {rib} rib[|s].
        The {side} {rib} rib[|s] [shows a cortical step|show cortical steps], in keeping with {a}fracture[|s].
        {side} {rib} rib fracture[|s], displaced by [|up to ]{size}.
        Fractured {side} {rib} rib[|s] with [|up to ]{size} displacement of the fragments.
        {a}{sided} {rib} rib fracture[|s] [is|are] noted.
        {a}{displaced} fracture[|s] [involves|involve] the {side} {rib} rib[|s].
        The {side} {rib} rib[|s] [is|are] fractured.
        {the_ribs} [has|have] {a}fracture[|s] with [|up to ]{size} of displacement.
        There [is|are] {a}acute {side} rib fracture[|s].
        """,
    )
    + read_forms(
        "rib_fracture/absent",
        """
        No rib fracture.
        There is no displaced rib fracture.
        No acute osseous abnormality.
        No acute rib fracture is seen.
        The ribs are intact.
        No evidence of fracture.
        The visualized bones are unremarkable.
        """,
        """
        No rib fracture is identified.
        There is no evidence of rib fracture.
        No acute bony abnormality.
        No displaced fracture is seen.
        Ribs are intact without fracture.
        The osseous structures are unremarkable.
        There are no acute fractures.
        """,
    ),
)

PACEMAKER = Wording(
    name="pacemaker",
    anatomy="chest wall",
    grades={},
    named=nouns(
        """
        {sided} pacemaker[|s]
        {side} chest wall pacemaker[|s]
        {sided} cardiac pacing device[|s]
        """
    ),
    denied=("pacemaker", "cardiac device"),
    forms=read_forms(
        "pacemaker/present",
        """
        There is a {sided} pacemaker.
        {sided} pacemaker in place.
        {a}{side} chest wall pacemaker is <seen|noted|present>.
        {sided} pacemaker with ventricular lead projecting over the heart.
        {sided} cardiac pacing device with intact ventricular lead.
        A pacemaker generator overlies the {side} chest with its ventricular lead over the cardiac silhouette.
        {a}{sided} pacemaker is in satisfactory position.
        {side} pectoral pacemaker generator, ventricular lead in expected position.
        Pacemaker generator projects over the {side} upper chest.
        Cardiac pacing device in the {side} chest wall.
        Pacemaker in situ {on_side}.
        {a}{sided} cardiac device is present with its lead tip over the ventricle.
        """,
        """
        {a}{sided} pacemaker is in place.
        There is a pacemaker {on_side}.
        {sided} pacemaker, ventricular lead in satisfactory position.
        Pacemaker generator in the {side} chest wall with lead tip projecting over the ventricle.
        {a}{side} pectoral pacemaker is seen.
        {a}cardiac pacing device overlies the {side} upper chest.
        The {sided} pacemaker has an intact ventricular lead over the heart.
        There is a {sided} cardiac pacing device.
        {side} chest wall pacemaker with ventricular lead in expected position.
        {sided} pacemaker generator and ventricular lead are noted.
        {sided} cardiac device, consistent with a pacemaker.
        The ventricular lead of the {sided} pacemaker projects over the cardiac silhouette.
        """,
    )
    + read_forms(
        "pacemaker/absent",
        """
        No pacemaker.
        No pacemaker is present.
        There is no cardiac pacing device.
        No cardiac device overlies the chest.
        No pacemaker generator is seen.
        There is no pacemaker.
        """,
        """
        No cardiac pacing device is seen.
        No pacemaker in place.
        There is no pacemaker or cardiac device.
        No cardiac device is present.
        A pacemaker is not present.
        No pacemaker is identified.
        """,
    ),
)

CENTRAL_LINE = Wording(
    name="central_line",
    anatomy="superior vena cava",
    grades={},
    named=nouns(
        """
        {sided} central venous catheter[|s]
        {sided} central line[|s]
        {side} central venous line[|s]
        """
    ),
    denied=("central venous catheter", "central line"),
    forms=read_forms(
        "central_line/present",
        """
        There is a {sided} central venous catheter.
        {sided} central line with tip at the cavoatrial junction.
        {a}{side} central venous catheter terminates at the cavoatrial junction.
        The tip of the {sided} central line projects over the lower superior vena cava.
        {sided} central venous catheter in satisfactory position.
        {a}{sided} central line is <seen|noted|present>.
        {side} central venous line, tip in the lower SVC.
        {sided} central venous catheter, tip over the cavoatrial junction.
        Central venous catheter {on_side}, with tip in the lower SVC.
        {a}{sided} central venous line is in place.
        {sided} central line in expected position.
        {a}central venous catheter enters from the {side} and ends at the cavoatrial junction.
        """,
        """
        {a}{sided} central venous catheter is in place.
        There is a {sided} central line terminating at the cavoatrial junction.
        {sided} central venous catheter with tip in the lower superior vena cava.
        Central line {on_side}, tip at the cavoatrial junction.
        The {sided} central venous catheter ends in the lower SVC.
        {side} central venous catheter, tip in expected position.
        {a}{side} central line projects with its tip over the cavoatrial junction.
        {sided} central venous line is present, in satisfactory position.
        {sided} central line is noted in place.
        The tip of {a}{side} central venous catheter is at the cavoatrial junction.
        {a}central line enters from the {side}.
        {a}{sided} central venous line terminates in the lower superior vena cava.
        """,
    )
    + read_forms(
        "central_line/absent",
        """
        No central venous catheter.
        No central line is present.
        There is no central venous catheter.
        No central venous line is seen.
        No central line.
        There is no central line in place.
        """,
        """
        No central venous catheter is seen.
        There is no central venous line.
        No central line is identified.
        A central venous catheter is not present.
        No central venous catheter in place.
        There is no central line.
        """,
    ),
)

ENDOTRACHEAL_TUBE = Wording(
    name="endotracheal_tube",
    anatomy="trachea",
    grades={},
    named=nouns(
        """
        endotracheal tube
        ET tube
        endotracheal tube with tip {size} above the carina
        """
    ),
    denied=("endotracheal tube", "ET tube"),
    forms=read_forms(
        "endotracheal_tube/present",
        """
        The endotracheal tube tip is {size} above the carina.
        Endotracheal tube with tip {size} above the carina.
        good? Endotracheal tube in satisfactory position.
        An endotracheal tube is in place, ending {size} above the carina.
        ET tube tip {size} above the carina.
        good? There is an endotracheal tube in standard position, {size} above the carina.
        The ET tube terminates {size} from the carina.
        high? The endotracheal tube is high, {size} above the carina, and could be advanced.
        low? The endotracheal tube is low, {size} above the carina, and could be withdrawn slightly.
        The patient is intubated, with the tube tip {size} above the carina.
        An endotracheal tube is <seen|noted|present>.
        Endotracheal tube in situ.
        Intubated patient, ET tube {size} above the carina.
        """,
        """
        An endotracheal tube terminates {size} above the carina.
        The tip of the endotracheal tube projects {size} above the carina.
        good? The ET tube is in satisfactory position.
        There is an endotracheal tube, tip {size} above the carina.
        Endotracheal tube in place.
        good? Endotracheal tube tip in standard position, {size} from the carina.
        high? High position of the endotracheal tube, tip {size} above the carina, consider advancing.
        low? Low endotracheal tube tip, {size} above the carina, consider withdrawing slightly.
        The endotracheal tube ends {size} from the carina.
        An ET tube is in place with its tip {size} above the carina.
        ET tube present, ending {size} above the carina.
        The patient is intubated with an endotracheal tube in place.
        The carina is {size} below the tip of the endotracheal tube.
        """,
    )
    + read_forms(
        "endotracheal_tube/absent",
        """
        No endotracheal tube.
        The patient is not intubated.
        There is no endotracheal tube.
        No ET tube is seen.
        No endotracheal tube is present.
        There is no ET tube in place.
        """,
        """
        No endotracheal tube is seen.
        An endotracheal tube is not present.
        There is no ET tube.
        No endotracheal tube in place.
        No ET tube is present.
        No endotracheal tube is identified.
        """,
    ),
)
