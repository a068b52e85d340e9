"""What the Plan and Launch review screens know, without a screen: the draft, its knobs, figures, checks. No textual."""
