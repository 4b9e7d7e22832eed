"""The journeys: who decides, in what order. Transactions open here and nowhere else."""
