"""What users say about answers: stored, reviewed, exported, learned from."""
