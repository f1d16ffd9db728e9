"""The rollout engine on plain torch: continuous batching with one shared prefix per group.

Holds:          key/value slots, decode attention, sampling, the scheduler.
Holds not:      rewards, training, text templates.
Must stay true: the schedule is a pure function of what was submitted and of the slot counts; an
                answer's random numbers depend on its own name and token number only.
"""
