"""What is done with a loaded model (`catalogue`). A query is asked once and says its durations (`queries`); it is asked
back to back (`closed_loop`), or when queries arrive (`server`).

The clock is a parameter, so that all this is tested without time.
"""
