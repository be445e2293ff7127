"""The history of a run or an artifact: what happened to it, who said so, what changed; and how to take a change back.

    positions   which events are about a subject, and where they are: a projection
    paging      a page of positions, in the order of time
    facts       what was known before an event
    telling     from positions to entries: the events are read from the log, what they changed is worked out
    subject     what a plugin contributes for one kind of subject
    undoing     which command can be taken back, and what stands against it

Metric points and images are never listed one by one.
"""
