"""edge_bts.trainers: teachers, the dual-path joint distillation and the loop (extra ``train``)."""
