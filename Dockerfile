FROM python:3.12-slim
COPY deploy/requirements.txt /requirements.txt
RUN pip install --no-cache-dir --require-hashes --requirement /requirements.txt
COPY pyproject.toml hatch_build.py README.md LICENSE /src/
COPY instrumentation /src/instrumentation
COPY collector /src/collector
COPY clickhouse /src/clickhouse
RUN pip install --no-cache-dir --no-deps '/src[collector,librechat,mcp,oidc,statements]' && pip check && rm -rf /src && useradd --system --uid 10001 tallyspan \
    && install -d -o tallyspan /var/lib/tallyspan
USER 10001
EXPOSE 4317 4318 4319
HEALTHCHECK --interval=10s --timeout=5s --retries=6 --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:4319/healthz', timeout=3)"]
ENTRYPOINT ["tallyspan"]
CMD ["up"]
