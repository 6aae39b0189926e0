"""The costs of tracking: this library beside django-user-tasks and Celery alone, in one run.

    make bench                            # everything, some 20 minutes
    make bench SCALE=0.1                  # a tenth of each size, for a first look
    make bench ROWS="submission worker"   # some of it

Each side lives in processes of its own, with its own settings and the same PostgreSQL and Redis.
``rows`` says what is measured; ``sides`` how each side does it; the same call is made on all sides
in turns, so that whatever else the machine does hits all of them alike. What comes out is a table,
``results.json`` and ``growth.svg``, in ``build/benchmarks``.
"""
