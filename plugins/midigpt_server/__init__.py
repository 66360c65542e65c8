"""HTTP server for music programs (extra ``server``): ``midigpt serve``, and ``midigpt-http`` with 0.4.2's options."""
