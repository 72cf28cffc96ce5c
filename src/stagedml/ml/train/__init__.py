"""Training: one loop, its batches, its optimizer, and what makes a run repeat bit for bit."""
