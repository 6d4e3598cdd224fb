# One image for every component: the command says which (see docker-compose.yml).
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --system --uid 10001 --create-home --home-dir /app stormconsole
WORKDIR /app

# The part above "# Development" is what runs.
COPY requirements.txt ./
RUN sed '/^# Development/,$d' requirements.txt > /tmp/runtime.txt && pip install -r /tmp/runtime.txt && rm /tmp/runtime.txt

COPY manage.py ./
COPY stormconsole ./stormconsole
COPY ingestion ./ingestion
COPY storms ./storms
COPY templates ./templates
COPY static ./static
COPY deploy ./deploy
RUN python -m compileall -q stormconsole ingestion storms

USER 10001
EXPOSE 8000
CMD ["python", "-m", "stormconsole.run", "web"]
