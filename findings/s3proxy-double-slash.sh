#!/bin/sh
# S3Proxy, org.gaul:s3proxy 4.1.0, with the provider filesystem-nio2 (Java 17): a key with two slashes.
#
# Guess: keys are opaque to S3, so `a//b` and `a/b` are two objects; a server that keeps them as files either
# encodes the empty name or refuses it.
# Seen: both are the file a/b. A PUT of `a//b` is answered 200 and replaces the object `a/b`, which nothing tells:
# the list has one key, `a/b`, and a GET of it has the other's bytes.
set -eu
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"
dependency() { echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"; }
# Jackson 3 needs newer annotations than Maven would take by itself.
cat > pom.xml <<END
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>example.test</groupId><artifactId>slashes</artifactId><version>1</version>
<dependencies>$(dependency com.fasterxml.jackson.core jackson-annotations 2.21)$(dependency org.gaul s3proxy 4.1.0)</dependencies></project>
END
mvn -q -B -Dstyle.color=never dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=jars
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir data
cat > s3proxy.properties <<END
s3proxy.authorization=none
s3proxy.endpoint=http://127.0.0.1:$port
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir=$folder/data
END
java -cp 'jars/*' org.gaul.s3proxy.Main --properties s3proxy.properties > log.txt 2>&1 &
server=$!
url=http://127.0.0.1:$port/slashes
curl -s --retry 60 --retry-delay 1 --retry-connrefused -X PUT "$url" > /dev/null
{
    for key in a/b a//b; do
        curl -s -o answer.txt -w "PUT $key: %{http_code}\n" -H "Content-Type: text/plain" -X PUT --data-binary "from $key" "$url/$key"
    done
    echo "listed: $(curl -s "$url?list-type=2" | grep -o '<Key>[^<]*' | cut -c6- | tr '\n' ' ')"
    echo "GET a/b: $(curl -s "$url/a/b")"
} | tee seen.txt
cat > expected.txt <<'END'
PUT a/b: 200
PUT a//b: 200
listed: a/b 
GET a/b: from a//b
END
diff expected.txt seen.txt
