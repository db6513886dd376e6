"""`holdfast doctor`: what the libraries installed here do behind your back, and what to change.

Why it exists: one call becomes nine requests when three layers each try three times, and a client without a timeout
waits for ten minutes. Both are defaults of libraries that nobody has read. Doctor reads them, from the libraries
themselves, and from objects of yours when it is told where they are.

==================  =======================================================================
`finding.py`        one thing found: what, what it leads to, what to change
`environment.py`    the interpreter, this build, the switches in environment variables
`libraries.py`      defaults of each installed library, read from it
`target.py`         the layers of one object: its requests per call, its longest wait
==================  =======================================================================

What it deliberately does not do: send anything anywhere, or change anything.
"""

from holdfast.doctor.environment import look_at_environment
from holdfast.doctor.finding import Finding
from holdfast.doctor.libraries import look_at_libraries
from holdfast.doctor.target import look_at_target

__all__ = ["Finding", "look_at_environment", "look_at_libraries", "look_at_target"]
