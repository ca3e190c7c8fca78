"""What the runbooks share: choices, turn, graph of tasks, stages, timeline."""
