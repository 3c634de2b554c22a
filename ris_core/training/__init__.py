"""What makes a network better at telling tiles apart: DINO's training, and training with labels."""
