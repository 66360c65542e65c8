"""What the operating system can do, and what is done instead on a system that cannot: the only package that uses names
which some systems lack.

:mod:`midigpt_core.system.capabilities` lists what is asked for. The other modules use it, each function with a
fallback. They import nothing else of midigpt_core, and the MIDI parser's process uses them too.
"""
