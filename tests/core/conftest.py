from hypothesis import settings

# The same examples in every run, so that a red test means a change in the code; and no time limit
# for one example, since other work may share the cores.
settings.register_profile("lth", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("lth")
