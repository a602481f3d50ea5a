# The HTTP API with the shipped model. Build: docker build -t candour .   Run: docker run -p 8000:8000 -v candour:/data candour
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --prefix=/install --constraint constraints.txt '.[postgres]'

FROM python:3.11-slim
RUN useradd --create-home candour && install -d -o candour /data
COPY --from=build /install /usr/local
USER candour
WORKDIR /data
VOLUME /data
# Without keys the server binds the container's own loopback address and says so: docker run … candour candour keys create
ENV CANDOUR_HOST=0.0.0.0 CANDOUR_DATABASE=sqlite:////data/candour.db
EXPOSE 8000
HEALTHCHECK CMD python -c "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"CANDOUR_PORT\", 8000)}/readyz', timeout=3)"
CMD ["candour", "serve"]
