#!/bin/busybox sh
# The machine's first process: runs the tests, then the agent beside a web server, and powers off. Lines that begin with
# PODTAP are read by vm/console.rs.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp RUST_BACKTRACE=1
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /tmp
ip link set lo up
# The firmware leaves the console in the middle of a line.
echo
echo "PODTAP kernel $(uname -r)"

for test in /tests/*; do
    echo "PODTAP begin ${test#/tests/}"
    $test --test-threads=2 2>&1
    echo "PODTAP end $?"
done

mkdir /sys/fs/cgroup/web /sys/fs/cgroup/agent
sh -c 'echo 0 > /sys/fs/cgroup/web/cgroup.procs; exec httpd -f -p 127.0.0.1:8080 -h /www' &
sh -c 'echo 0 > /sys/fs/cgroup/agent/cgroup.procs; exec tap-agent --config /etc/agent.yaml > /tmp/agent.log 2>&1' &
agent=$!
waited=0
until wget -q -O /dev/null http://127.0.0.1:7072/ready || [ $waited = 300 ]; do
    waited=$((waited + 1))
    sleep 0.2
done
for turn in 1 2 3 4 5 6 7 8 9 10; do
    wget -q -O /dev/null http://127.0.0.1:8080/small
    wget -q -O /dev/null http://127.0.0.1:8080/large
done
# Published once a second.
sleep 3
echo "PODTAP metrics"
wget -q -O - http://127.0.0.1:7072/metrics
echo "PODTAP log"
kill $agent
wait $agent
cat /tmp/agent.log
echo "PODTAP done"
poweroff -f
