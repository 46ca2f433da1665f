"""Effusion and pneumothorax."""

from __future__ import annotations

from medvlp.phantom.prose.form import nouns, read_forms
from medvlp.phantom.prose.wording import Wording

__all__ = ["EFFUSION", "PNEUMOTHORAX"]

EFFUSION = Wording(
    name="effusion",
    anatomy="pleural space",
    grades={"mild": ("small", "small", "trace", "minimal"), "moderate": ("moderate",), "severe": ("large",)},
    named=nouns(
        """
        {severity} {side} pleural effusion[|s]
        {severity} {side} effusion[|s]
        {severity} pleural effusion[|s] {on_side}
        {severity} {sided} pleural effusion[|s]
        """
    ),
    denied=("pleural effusion", "effusion", "pleural fluid"),
    forms=read_forms(
        "effusion/present",
        """
        There [is|are] {a}{severity} {side} pleural effusion[|s].
        {severity} {side} pleural effusion[|s].
        {severity} {side} pleural effusion[|s] [is|are] <seen|noted>.
        mild? Blunting of {the_angle} is consistent with {a}{severity} pleural effusion[|s].
        mild? {the_angle} [is|are] blunted by {a}{severity} pleural effusion[|s].
        {a}{severity} pleural effusion[|s] [is|are] seen {on_side}.
        A {severity} amount of pleural fluid is present {on_side}.
        erect? Opacity with a meniscus at {the_base} represents {a}{severity} effusion[|s].
        graded? {the_diaphragm} [is|are] obscured by {a}{severity} pleural effusion[|s].
        supine? Layering {severity} {side} pleural effusion[|s].
        Pleural fluid at {the_base}, {severity} in amount.
        There is {quantity} fluid in {the_space}.
        supine,graded? Hazy opacity over {the_hemithorax} reflects {a}{severity} layering effusion[|s].
        severe? {severity} {side} pleural effusion[|s] with opacification of {the_lower_hemithorax}.
        {sided} pleural effusion[|s], {severity} in size.
        erect? {severity} {side} effusion[|s], reaching {size} above the costophrenic angle.
        """,
        """
        {a}{severity} {sided} pleural effusion[|s] [is|are] present.
        {severity} effusion[|s] {on_side}.
        mild? {the_angle} [is|are] blunted, in keeping with {a}{severity} effusion[|s].
        mild? Blunted {angle}, {severity} pleural effusion[|s].
        There [is|are] {a}{severity} effusion[|s] {on_side}.
        {the_space} [contains|contain] {quantity} fluid.
        {quantity} pleural fluid is noted at {the_base}.
        graded? {a}{severity} {side} effusion[|s] [obscures|obscure] {the_diaphragm}.
        erect? There is a meniscus at {the_base}, representing {quantity} pleural fluid.
        supine? Layering fluid {on_side} represents {a}{severity} pleural effusion[|s].
        supine? {a}{severity} effusion[|s] [layers|layer] over {the_hemithorax}.
        A {severity} volume of pleural fluid is seen {on_side}.
        severe? Opacification of {the_lower_hemithorax} represents {a}{severity} effusion[|s].
        The {sided} pleural effusion[|s] [is|are] {severity} in size.
        Fluid in {the_space}, {severity} in amount.
        erect? Pleural effusion[|s] {on_side}, {severity}, with fluid reaching {size} above the costophrenic angle.
        """,
    )
    + read_forms(
        "effusion/absent",
        """
        There is no pleural effusion.
        No pleural effusion.
        No pleural effusion is seen.
        erect? The costophrenic angles are sharp.
        No evidence of pleural fluid.
        Pleural spaces are clear of fluid.
        No effusion on either side.
        """,
        """
        No effusion is identified.
        There is no evidence of pleural effusion.
        erect? Costophrenic angles are clear and sharp.
        No pleural fluid is seen.
        Both pleural spaces are free of fluid.
        Pleural effusion is absent.
        There are no pleural effusions.
        """,
    )
    + read_forms(
        "effusion/uncertain",
        """
        Blunting of {the_angle} may reflect {a}{severity} effusion[|s].
        Hazy opacity at {the_base}, possibly {a}{severity} pleural effusion[|s].
        """,
        """
        {the_angle} [is|are] indistinct and {a}{severity} effusion[|s] cannot be excluded.
        Possible blunting of {the_angle}, which may represent {a}{severity} pleural effusion[|s].
        """,
    ),
)

PNEUMOTHORAX = Wording(
    name="pneumothorax",
    anatomy="pleural space",
    grades={"mild": ("small", "tiny", "small"), "moderate": ("moderate",), "severe": ("large",)},
    named=nouns(
        """
        {severity} {side} pneumothorax[|es]
        {severity} {side} apical pneumothorax[|es]
        {severity} {sided} pneumothorax[|es]
        """
    ),
    denied=("pneumothorax", "pneumothorax", "pleural air"),
    forms=read_forms(
        "pneumothorax/present",
        """
        There [is|are] {a}{severity} {side} pneumothorax[|es].
        {severity} {side} pneumothorax[|es].
        {severity} {side} apical pneumothorax[|es], measuring {size}.
        A visceral pleural line is visible at {the_apex}, consistent with {a}{severity} pneumothorax[|es].
        {a}{severity} pneumothorax[|es] [is|are] seen {on_side}.
        Pleural air at {the_apex}, {severity} pneumothorax[|es].
        There is a {size} rim of pleural air at {the_apex}, in keeping with {a}{severity} pneumothorax[|es].
        {the_lung} [shows|show] {a}{severity} pneumothorax[|es] with a visible pleural line.
        {severity} {sided} pneumothorax[|es] [is|are] <present|noted>.
        severe? {severity} {side} pneumothorax[|es] with partial collapse of {the_lung}.
        Lucency without lung markings at {the_apex} represents {a}{severity} pneumothorax[|es].
        {a}{severity} {side} pneumothorax[|es] [is|are] present, {size} at the apex.
        Absent lung markings beyond a pleural line {on_side}, {severity} pneumothorax[|es].
        """,
        """
        {a}{severity} {sided} pneumothorax[|es] [is|are] seen.
        {severity} pneumothorax[|es] {on_side}.
        {severity} pneumothorax[|es] at {the_apex}, {size} from the chest wall.
        There is a visible pleural line at {the_apex}, representing {a}{severity} pneumothorax[|es].
        {sided} pneumothorax[|es], {severity} in size.
        {the_apex} [shows|show] pleural air, consistent with {a}{severity} pneumothorax[|es].
        There [is|are] {a}{severity} apical pneumothorax[|es] {on_side}.
        The visceral pleural line {on_side} is displaced by {size}, {severity} pneumothorax[|es].
        severe? {the_lung} [is|are] partially collapsed by {a}{severity} pneumothorax[|es].
        {a}{severity} pneumothorax[|es] [measures|measure] {size} at {the_apex}.
        A pleural line with no lung markings beyond it is noted {on_side}, {severity} pneumothorax[|es].
        {severity} {side} pneumothorax[|es] with a rim of {size}.
        Air in {the_space}, in keeping with {a}{severity} pneumothorax[|es].
        """,
    )
    + read_forms(
        "pneumothorax/absent",
        """
        There is no pneumothorax.
        No pneumothorax.
        No pneumothorax is seen.
        No evidence of pneumothorax.
        No pleural line is seen to suggest pneumothorax.
        No apical pneumothorax.
        """,
        """
        No pneumothorax is identified.
        There is no evidence of pneumothorax.
        Pneumothorax is absent.
        No visible pneumothorax on either side.
        No pleural air is seen.
        There are no signs of pneumothorax.
        """,
    )
    + read_forms(
        "pneumothorax/uncertain",
        """
        A fine line at {the_apex} may represent {a}{severity} pneumothorax[|es] or a skin fold.
        Possible pleural line at {the_apex}, {a}{severity} pneumothorax[|es] cannot be excluded.
        """,
        """
        Skin fold or {a}{severity} pneumothorax[|es] at {the_apex}.
        There may be a pleural line at {the_apex}, possibly {a}{severity} pneumothorax[|es].
        """,
    ),
)
