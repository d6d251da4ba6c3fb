"""RoIAlign: the public function (`roi_align.py`), its forms and its kernels (`cc/`)."""
