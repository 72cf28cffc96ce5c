"""BERT (Devlin et al. 2018): configuration, encoder, checkpoints, pre-training and fine-tuning."""
