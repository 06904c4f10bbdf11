"""The programs: the main job, and the tools around it. Only these choose where data comes from and goes to."""
