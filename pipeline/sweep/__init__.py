"""The sweep: a grid of variants of one trained model, each judged on the evaluation pictures, and the best of them."""
