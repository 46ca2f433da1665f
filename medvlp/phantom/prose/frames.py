"""Frames around a finding's noun phrase: change since the prior, doubt, lists of what is absent, and the conclusion."""

from __future__ import annotations

from medvlp.phantom.prose.form import SentenceForm, read_forms

__all__ = ["FRAMES"]

_CHANGE = (
    read_forms(
        "change/new",
        """
        New {np}.
        Interval development of {a}{np}.
        {a}{np} [is|are] new since the prior <study|examination>.
        There [is|are] now {a}{np}.
        {a}{np} [has|have] developed since the prior <study|radiograph>.
        Compared with the prior radiograph, there [is|are] {a}new {np}.
        """,
        """
        {np}, new from the prior <study|examination>.
        There has been interval development of {a}{np}.
        New since the prior radiograph: {np}.
        Since the prior study, {a}{np} [has|have] developed.
        There [is|are] {a}new {np} compared with the prior study.
        {a}{np} [is|are] now seen, not present on the prior radiograph.
        """,
    )
    + read_forms(
        "change/unchanged",
        """
        Unchanged {np}.
        Stable {np}.
        The {np} [is|are] unchanged since the prior <study|examination>.
        There [is|are] {a}{np}, not significantly changed from the prior study.
        {np}, similar to the prior <study|radiograph>.
        {a}{np} [is|are] again <seen|noted>.
        Persistent {np}.
        """,
        """
        The {np} [is|are] stable compared with the prior study.
        {np}, unchanged from the prior radiograph.
        No significant change in the {np}.
        Again noted [is|are] {a}{np}.
        The {np} [is|are] similar to the prior examination.
        {a}{np} [persists|persist] without significant change.
        Compared with the prior study, the {np} [is|are] unchanged.
        """,
    )
    + read_forms(
        "change/increased",
        """
        The {np} [has|have] increased since the prior <study|examination>.
        Increased {np} compared with the prior study.
        Interval increase in the {np}.
        Worsening {np}.
        {a}{np}, increased from the prior <study|radiograph>.
        Compared with the prior study, the {np} [is|are] worse.
        """,
        """
        There has been interval increase in the {np}.
        The {np} [is|are] worse than on the prior radiograph.
        Since the prior examination, the {np} [has|have] increased.
        {np}, worse compared with the prior study.
        Interval worsening of the {np}.
        The {np} [has|have] worsened in the interval.
        """,
    )
    + read_forms(
        "change/decreased",
        """
        The {np} [has|have] decreased since the prior <study|examination>.
        Decreased {np} compared with the prior study.
        Interval decrease in the {np}.
        Improving {np}.
        {a}{np}, decreased from the prior <study|radiograph>.
        Compared with the prior study, the {np} [is|are] improved.
        """,
        """
        There has been interval decrease in the {np}.
        The {np} [is|are] improved since the prior radiograph.
        Since the prior examination, the {np} [has|have] decreased.
        {np}, improved compared with the prior study.
        Interval improvement in the {np}.
        Persistent but decreased {np}.
        """,
    )
    + read_forms(
        "change/resolved",
        """
        The {np} [has|have] resolved.
        Interval resolution of the {np}.
        Previously seen {np} [is|are] no longer <visible|present>.
        Resolved {np}.
        The {np} seen on the prior study [has|have] cleared.
        The prior {np} [has|have] resolved.
        """,
        """
        The {np} [is|are] no longer seen.
        There has been interval resolution of the {np}.
        {np} seen on the prior radiograph [has|have] resolved.
        Since the prior study, the {np} [has|have] cleared.
        Complete resolution of the {np}.
        The previously noted {np} [is|are] no longer present.
        """,
    )
)

_DEVICE = (
    read_forms(
        "device/new",
        """
        Interval placement of {a}{np}.
        New {np}.
        {a}{np} has been placed since the prior study.
        There is {a}new {np}.
        {a}{np} is new since the prior radiograph.
        """,
        """
        {np}, new from the prior study.
        There has been interval placement of {a}{np}.
        Since the prior study, {a}{np} has been placed.
        Newly placed {np}.
        {a}{np} is now in place.
        """,
    )
    + read_forms(
        "device/unchanged",
        """
        Unchanged {np}.
        The {np} is unchanged in position.
        {np}, stable in position.
        {a}{np} remains in place.
        Stable position of the {np}.
        """,
        """
        {np}, unchanged in position.
        The {np} remains in stable position.
        Again noted is {a}{np}.
        {np} in unchanged position.
        Compared with the prior study, the {np} is unchanged.
        """,
    )
    + read_forms(
        "device/resolved",
        """
        The {np} has been removed.
        Interval removal of the {np}.
        The previously seen {np} is no longer present.
        {np} removed since the prior study.
        The prior {np} has been removed.
        """,
        """
        There has been interval removal of the {np}.
        Since the prior study, the {np} has been removed.
        The {np} is no longer present.
        Removal of the {np} in the interval.
        The {np} seen on the prior radiograph has been removed.
        """,
    )
)

_DOUBT = read_forms(
    "doubt",
    """
    Possible {np}.
    {a}{np} cannot be excluded.
    There may be {a}{np}.
    Questionable {np}.
    Findings may represent {a}{np}.
    Cannot exclude {a}{np}.
    {a}{np} [is|are] suspected.
    Suspicion of {a}{np}.
    """,
    """
    {a}{np} [is|are] possible.
    It is not possible to exclude {a}{np}.
    {a}{np} may be present.
    Suspected {np}.
    {np} cannot be entirely excluded.
    Findings are questionable for {a}{np}.
    Appearances may reflect {a}{np}.
    There [is|are] possibly {a}{np}.
    """,
)

_LISTS = read_forms(
    "absent/two",
    """
    No {first} or {second}.
    There is no {first} or {second}.
    No evidence of {first} or {second}.
    Neither {first} nor {second} is identified.
    No {first} is seen, and no {second}.
    There are no signs of {first} or {second}.
    """,
    """
    There is no evidence of {first} or {second}.
    No {first} or {second} is identified.
    {first} and {second} are absent.
    No {first} and no {second}.
    There is no {first}, and there is no {second}.
    No sign of {first} or {second}.
    """,
) + read_forms(
    "absent/three",
    """
    No {first}, {second} or {third}.
    There is no {first}, {second}, or {third}.
    No evidence of {first}, {second} or {third}.
    No {first}, no {second} and no {third}.
    Neither {first}, {second} nor {third} is seen.
    There is no evidence of {first}, {second}, or {third}.
    """,
    """
    No {first}, {second}, or {third} is identified.
    There is no sign of {first}, {second} or {third}.
    {first}, {second} and {third} are absent.
    There is no {first}, no {second} and no {third}.
    No {first}, {second}, or {third} is seen.
    Negative for {first}, {second} or {third}.
    """,
)

_SIDED = read_forms(
    "absent/side",
    """
    No {side} {denied}.
    There is no {side} {denied}.
    No {denied} {on_side}.
    No {sided} {denied} is seen.
    No evidence of {side} {denied}.
    There is no {denied} {on_side}.
    """,
    """
    No {denied} is seen {on_side}.
    There is no evidence of {side} {denied}.
    No {side} {denied} is identified.
    There is no {sided} {denied}.
    No {sided} {denied}.
    {side} {denied} is not present.
    """,
)

_SUMMARY = read_forms(
    "impression/finding",
    """
    {np}.
    {np} as described above.
    Findings consistent with {a}{np}.
    {a}{np} [is|are] demonstrated.
    """,
    """
    {np}, as described.
    Findings in keeping with {a}{np}.
    {a}{np} [is|are] identified.
    {np}, as noted above.
    """,
)

FRAMES: tuple[SentenceForm, ...] = _SUMMARY + _CHANGE + _DEVICE + _DOUBT + _LISTS + _SIDED
