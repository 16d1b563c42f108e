"""The commands of `visavis`, one module each."""
