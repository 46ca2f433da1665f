"""Foreign compressed pixels are decoded in a helper process: a file that breaks a decoder breaks the helper only.

A reading process starts one helper when it first meets compressed pixels, keeps it, and starts another when it has
died. `client` runs in the reading process, `helper` and `limits` in the other one; `protocol` and `shared` are what
both agree on. The helper loads numpy and the codec that is asked for, never torch, and sees no environment but its own.

What this stands against: a crash, a hang and a flood of memory end the helper, and a file that takes the helper over
finds neither the reader's memory nor its secrets there. What it does not: such a file has this user's rights on the
disk, and could falsify the pixels (never the shape) of later files until the helper ends.
"""
