# The program in a small image, for CPUs and for ranks over MPI inside one container:
#
#   docker build -t natrix .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" natrix train my.yaml
FROM debian:12 AS build
WORKDIR /src
COPY launch/setup.sh launch/setup.sh
RUN launch/setup.sh
COPY . .
RUN cmake --preset release -DNATRIX_TESTS=OFF -DNATRIX_BENCH=OFF -DNATRIX_CUDA=off \
    && cmake --build --preset release \
    && cmake --install build/release --prefix /opt/natrix --strip

FROM debian:12-slim
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
       libhwy1 libfmt9 libyaml-cpp0.7 libxxhash0 libpcre2-8-0 zlib1g libzstd1 libopenmpi3 openmpi-bin \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/natrix /usr/local
RUN useradd --create-home natrix && install -d -o natrix -g natrix /data
USER natrix
WORKDIR /data
ENTRYPOINT ["natrix"]
CMD ["--help"]
