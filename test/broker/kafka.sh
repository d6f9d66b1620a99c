#!/bin/sh
# Kafka, one node without ZooKeeper, in the foreground:
#     DIR=... PORT=... PORT_2=... kafka.sh KIND [--override NAME=VALUE...]
# Listeners: URL plain; URL_SASL users and passwords; URL_TLS, CA; URL_SASL_TLS; URL_PROXIED, which is told to clients
# with another port than it listens on: who stands between has to listen on PROXY_PORT, and to connect to PROXIED_PORT.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
kind=$1
shift
case $kind in
  kafka) create=true ;;
  kafka_no_create) create=false ;;
  *) echo "no such kind: $kind" >&2; exit 2 ;;
esac
jars=$(sh "$here/kafka/fetch.sh")
[ -f "$DIR/ca.pem" ] || sh "$here/certs.sh" "$DIR"
openssl pkcs8 -topk8 -nocrypt -in "$DIR/server.key" -out "$DIR/bundle.pem"
cat "$DIR/server.pem" "$DIR/ca.pem" >> "$DIR/bundle.pem"

host=127.0.0.1
modules=org.apache.kafka.common.security
plain="$modules.plain.PlainLoginModule required user_app=\"app-password\";"
scram="$modules.scram.ScramLoginModule required;"
{
  cat << EOF
node.id=1
process.roles=controller,broker
controller.quorum.voters=1@$host:$PORT_5
controller.listener.names=QUORUM
inter.broker.listener.name=OPEN
listeners=OPEN://$host:$PORT,USERS://$host:$PORT_2,TLS://$host:$PORT_3,BOTH://$host:$PORT_4,QUORUM://$host:$PORT_5,PROXIED://$host:$PORT_6
advertised.listeners=OPEN://$host:$PORT,USERS://$host:$PORT_2,TLS://localhost:$PORT_3,BOTH://localhost:$PORT_4,PROXIED://$host:$PORT_7
listener.security.protocol.map=OPEN:PLAINTEXT,PROXIED:PLAINTEXT,QUORUM:PLAINTEXT,USERS:SASL_PLAINTEXT,TLS:SSL,BOTH:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.keystore.location=$DIR/bundle.pem
ssl.truststore.type=PEM
ssl.truststore.location=$DIR/ca.pem
auto.create.topics.enable=$create
log.dirs=$DIR/data
log.cleaner.enable=false
log.index.size.max.bytes=65536
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
num.network.threads=1
num.io.threads=2
EOF
  for listener in users both; do
    echo "listener.name.$listener.plain.sasl.jaas.config=$plain"
    echo "listener.name.$listener.scram-sha-256.sasl.jaas.config=$scram"
    echo "listener.name.$listener.scram-sha-512.sasl.jaas.config=$scram"
  done
} > "$DIR/server.properties"

export CLASSPATH="$jars/*"
options='-Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData
  -Dorg.slf4j.simpleLogger.defaultLogLevel=warn'
# shellcheck disable=SC2086 # words
[ -d "$DIR/data" ] || java $options kafka.tools.StorageTool format --cluster-id dGVzdHMtb2YtdGhpcy1saQ \
  --config "$DIR/server.properties" --add-scram 'SCRAM-SHA-256=[name=bob,password=bob-password]' \
  --add-scram 'SCRAM-SHA-512=[name=eve,password=eve-password]'

# A first fetch of a new channel waits behind the one under way: a short one.
query='kafka.fetch.wait.max.ms=5'
tell URL "kafka://$host:$PORT/?$query"
tell URL_PROXIED "kafka://$host:$PORT_7/?$query"
tell URL_SASL "kafka://app:app-password@$host:$PORT_2/?$query"
tell URL_SCRAM_256 "kafka://bob:bob-password@$host:$PORT_2/?sasl=scram-sha-256&$query"
tell URL_SCRAM_512 "kafka://eve:eve-password@$host:$PORT_2/?sasl=scram-sha-512&$query"
tell URL_TLS "kafkas://localhost:$PORT_3/?tls_ca=$DIR/ca.pem&$query"
tell URL_SASL_TLS "kafkas://app:app-password@localhost:$PORT_4/?tls_ca=$DIR/ca.pem&$query"
tell CA "$DIR/ca.pem"
tell OTHER_CA "$DIR/other_ca.pem"
tell PROXIED_PORT "$PORT_6"
tell PROXY_PORT "$PORT_7"
exec java $options kafka.Kafka "$DIR/server.properties" "$@"
