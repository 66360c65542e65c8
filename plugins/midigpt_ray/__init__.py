"""Bundled engine ``ray`` (:mod:`midigpt_ray.engine`); it needs the extra ``ray``."""
