#!/bin/bash
# Tries the package where a shop runs it: a fresh Debian whose systemd starts the unit, and the guide
# docs/guides/install.md followed in it. Needs root, debootstrap and the network; takes a minute or two.
#
#   package/trial.sh target/package/stagedoor_0.1.0_amd64.deb [FOLDER]
#
# FOLDER keeps the fresh Debian for another time; without it nothing is left. What is started is gone at
# the end, however that comes.
set -euo pipefail

deb=$(realpath "$1")
kept=${2:-}
root=$(realpath -m "${kept:-$(mktemp -d /tmp/stagedoor-trial.XXXXXX)}")
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

systemd=
clean() {
    if [ -n "$systemd" ]; then
        kill -9 "$systemd" 2> /dev/null || true
        wait "$systemd" 2> /dev/null || true
    fi
    [ -n "$kept" ] || rm -rf --one-file-system "$root" "$root.log"
}
trap clean EXIT

if [ ! -e "$root/etc/debian_version" ]; then
    debootstrap --variant=minbase --include=ca-certificates,systemd,systemd-sysv,dbus,procps,curl \
        bookworm "$root" "$mirror" > "$root.log" 2>&1 || { tail -n 5 "$root.log"; exit 1; }
fi
cp "$deb" "$root/opt/stagedoor.deb"
cat > "$root/opt/follow.sh" <<'IN'
set -euo pipefail
say() { echo "== $*"; }
config=/etc/stagedoor/stagedoor.toml
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.2; done

say "install, and make the house"
dpkg -i /opt/stagedoor.deb > /dev/null
sh -c 'umask 077; head -c 18 /dev/urandom | base64 > /etc/stagedoor/passphrase'
stagedoor --config $config init --separate --dir /var/lib/stagedoor/var \
    --passphrase-file /etc/stagedoor/passphrase --name "Your shop" --url https://shop.example \
    --upstream http://127.0.0.1:3000 --operator you@shop.example > /dev/null
sed -i 's/0.0.0.0:8443/127.0.0.1:38443/; s/127.0.0.1:8444/127.0.0.1:38444/' $config

say "systemd starts it, each process its user, in a sandbox"
systemctl enable --now stagedoor
open() { for _ in $(seq 100); do curl -skf https://127.0.0.1:38443/v1/log/checkpoint > /dev/null && return; sleep 0.1; done; return 1; }
open
ps -eo user:20,args | grep '[s]tagedoor process'
[ "$(ps -eo user:20,args | grep '[s]tagedoor process' | awk '{print $1}' | sort -u | wc -l)" = 3 ]
off=$(journalctl -u stagedoor --no-pager | grep -E 'promise off: (edge|core|keyholder)' || true)
[ -z "$off" ] || { echo "$off"; exit 1; }
stagedoor --config $config doctor | grep -E '^[✓!✗] (separate processes|keyholder|vault)'
systemd-analyze security stagedoor --no-pager | tail -n 1

say "a backup of both, and a drill"
sh -c 'umask 077; head -c 24 /dev/urandom | base64 > /etc/stagedoor/backup-passphrase'
chown stagedoor-core: /etc/stagedoor/backup-passphrase
sed -i 's|^\[backup\]|&\npassphrase_file = "/etc/stagedoor/backup-passphrase"|' $config
install -d -o stagedoor-core -m 700 /srv/backup /srv/keys-backup
stagedoor --config $config backup /srv/backup/data.backup --keys /srv/keys-backup/keys.backup
stagedoor --config $config restore drill /srv/backup/data.backup \
    --keys /srv/keys-backup/keys.backup --none-erased | head -n 1

say "restarted, and killed"
systemctl restart stagedoor
open
kill -9 "$(systemctl show stagedoor -p MainPID --value)"
sleep 3
open
systemctl stop stagedoor
[ "$(systemctl show stagedoor -p Result --value)" = success ]

say "installed anew over itself, purged; the data stays"
systemctl start stagedoor
dpkg -i /opt/stagedoor.deb > /dev/null
open
dpkg --purge stagedoor > /dev/null
if pgrep -f 'stagedoor process'; then exit 1; fi
[ -e /var/lib/stagedoor/keyholder/root.sealed ]
rm -r /etc/stagedoor /var/lib/stagedoor
say "all of it held"
IN
cat > "$root/etc/systemd/system/follow.service" <<'UNIT'
[Unit]
Description=Follows the guide
[Service]
Type=oneshot
ExecStart=/bin/bash /opt/follow.sh
StandardOutput=append:/opt/follow.log
StandardError=append:/opt/follow.log
ExecStopPost=/bin/sh -c 'echo "$SERVICE_RESULT" > /opt/follow.end'
[Install]
WantedBy=multi-user.target
UNIT
rm -f "$root/opt/follow.log" "$root/opt/follow.end"
chroot "$root" systemctl enable --quiet follow.service
ROOT=$root unshare --mount --pid --fork --kill-child --uts --ipc --propagation private sh -c '
    mount --bind "$ROOT" "$ROOT"
    mount -t proc proc "$ROOT/proc"
    mount -t sysfs -o ro sys "$ROOT/sys"
    for tmp in run tmp; do mount -t tmpfs -o mode=755 tmp "$ROOT/$tmp"; done
    if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
        mount --rbind /sys/fs/cgroup "$ROOT/sys/fs/cgroup"
    else
        mount -t tmpfs -o mode=755 tmp "$ROOT/sys/fs/cgroup"
        mkdir "$ROOT/sys/fs/cgroup/systemd"
        mount -t cgroup -o none,name=systemd cgroup "$ROOT/sys/fs/cgroup/systemd"
    fi
    mount --rbind /dev "$ROOT/dev"
    exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$ROOT" /lib/systemd/systemd
' > /dev/null 2>&1 < /dev/null &
systemd=$!
for _ in $(seq 600); do
    [ -e "$root/opt/follow.end" ] && break
    sleep 0.2
done
cat "$root/opt/follow.log"
[ "$(cat "$root/opt/follow.end")" = success ]
