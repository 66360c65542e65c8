"""The processes of a run: signals, agreement between ranks, lost ranks, time and memory."""
