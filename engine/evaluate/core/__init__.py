"""CORE (Li et al. 2024, DCLM): in-context learning on 22 tasks, as one centered accuracy."""
