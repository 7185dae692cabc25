#!/bin/bash
# Restores a mailrig repository without mailrig. Needs bash, age, zstd, tar, jq and coreutils.
#
#   recover.sh REPO-FOLDER IDENTITY OUT-FOLDER [SNAPSHOT-ID]
#
# REPO-FOLDER  a repository on this machine; from S3: aws s3 sync s3://BUCKET/PREFIX REPO-FOLDER
# IDENTITY     the file with the recovery identity; - for a repository without encryption
# OUT-FOLDER   where the mailboxes go: empty, or not there yet. Owners are restored by root only
# SNAPSHOT-ID  a name in snapshots/, or the start of one; the newest if left out
#
# Exit code 1: not all was restored. docs/format.md says what each step means.
set -euo pipefail
export LC_ALL=C
umask 077
die() { echo "recover.sh: $*" >&2; exit 1; }

# Prints what an object of the mailbox in work holds, from standard input.
unseal() { if [[ $identity == - ]]; then cat; else age -d -i <(echo "$secret"); fi | zstd -dcq; }

# Sets $path to a name of a catalog without its %XX. What would leave its place is refused.
decode() {
  printf -v path '%b' "${1//%/\\x}"
  [[ $path != /* && /$path/ != */../* ]] || die "refused: $1"
}

# Applies the lines of a chain of catalogs, oldest first. Prints what is left, ordered by pack, the
# folders before everything else, and once more at the end: their modes may forbid to write in them.
plan='
def base: (split("/")[1]) as $name | ($name | split(":")[0]) | if . == "" then $name else . end;
reduce inputs as $l ({};
  if $l.kind == "message" then setpath([$l.folder + "\u001f" + ($l.key // ($l.name | base))]; $l)
  elif $l.kind == "expunged" then delpaths([[$l.folder + "\u001f" + $l.message]])
  elif $l.kind == "gone" then
    with_entries(select(.key != $l.path and (.key | startswith($l.path + "\u001f") | not)))
  elif $l.kind == "mailbox" then setpath(["\u001f"]; $l)
  elif $l.kind == "incident" then .
  else setpath([$l.path]; $l) end)
| to_entries | sort_by(.value.kind != "mailbox", .value.pack // -1, .key) | map(.value)
| (.[], (reverse[] | select(.kind == "folder") | .kind = "mode"))
| [.kind, .mode, .uid, .gid, .maildir, .mtime, .pack, .member, .target,
   .path // ((if .folder == "" then "" else .folder + "/" end) + .name)]
| map(. // "" | tostring)
| if add | test("[^ -~]|\\\\|%00") then error("refused: \(.)") else join("\u001f") end'

recover() { # MAILBOX CATALOG SHA256
  local dir=$repo/mailboxes/$1 id=$2 chain=() root='' owner=() unpacked='' count=0 subdirs
  [[ $identity == - ]] || secret=$(age -d -i "$identity" "$repo/keys/$1.age" | jq -r .identity)
  # The manifest has the hash of the newest catalog, and that has the hash of everything it needs.
  head -n 1 "$dir/catalogs/$id" >"$tmp/head"
  { echo "$3  catalogs/$id"; jq -r '.needs[] | .sha256 + "  " + .object' "$tmp/head"; } >"$tmp/sums"
  (cd "$dir" && sha256sum --check --quiet "$tmp/sums" >&2)
  while [[ $id != null ]]; do
    chain=("$dir/catalogs/$id" "${chain[@]}")
    id=$(head -n 1 "${chain[0]}" | jq -r 'if .catalog > 1 then error("newer format") else .parent end')
  done
  for id in "${chain[@]}"; do tail -n +2 "$id" | unseal; done | jq -nr "$plan" >"$tmp/plan"
  while IFS=$'\x1f' read -r kind mode uid gid maildir mtime pack member target name; do
    decode "$name"
    path=$root/$path
    subdirs=(${maildir:+"$path/cur" "$path/new" "$path/tmp"})
    [[ $EUID != 0 || $kind == mailbox ]] || owner=(-o "$uid" -g "$gid")
    printf -v mode '%o' $((8#${mode:-0} & 8#777)) # no set-uid from a repository
    case $kind in
    mailbox) root=$out$path ;;
    folder) mkdir -p -- "$path" "${subdirs[@]}" ;;
    mode)
      install -d -m "$mode" "${owner[@]}" -- "${subdirs[@]}" "$path"
      [[ -z $mtime ]] || printf '%s\0%s\0' "$mtime" "$path" >>"$tmp/times" ;;
    link) printf '%b\0%s\0%s\0' "${target//%/\\x}" "$path" "$uid:$gid" >>"$tmp/links" ;;
    *)
      if [[ $pack != "$unpacked" ]]; then
        rm -rf -- "$tmp/pack"; mkdir -- "$tmp/pack"
        object=$(jq -r --argjson pack "$pack" '.needs[] | select(.pack == $pack).object' "$tmp/head")
        unseal <"$dir/$object" | tar -xm --no-same-owner -C "$tmp/pack"
        unpacked=$pack
      fi
      printf -v member '%s/%07d' "$tmp/pack" "$member"
      [[ -f $member && ! -L $member ]] || die "$object lacks ${member##*/}"
      install -DT -m "$mode" "${owner[@]}" -- "$member" "$path"
      touch -d "@$mtime" -- "$path"
      count=$((count + 1)) ;;
    esac
  done <"$tmp/plan"
  echo "$root: $count files"
}

[[ $# == [34] ]] || die "usage: recover.sh REPO-FOLDER IDENTITY OUT-FOLDER [SNAPSHOT-ID]"
repo=$(realpath -- "$1") identity=$2 failed=0
mkdir -p -- "$3"
out=$(realpath -- "$3")
[[ -z $(ls -A -- "$out") ]] || die "$out is not empty"
tmp=$(mktemp -d -- "$out/.recover.XXXXXX")
trap 'rm -rf -- "$tmp"' EXIT
[[ $(jq .repository "$repo/repository.json") == 1 ]] || die "$repo is no repository of format 1"
snapshots=("$repo/snapshots/${4:-}"*.json.zst)
[[ -e ${snapshots[-1]} ]] || die "no such snapshot in $repo"
zstd -dcq -- "${snapshots[-1]}" | jq -r 'if .snapshot > 1 then error("newer format") else . end
  | .mailboxes | to_entries[] | "\(.key) \(.value.catalog) \(.value.sha256)"' >"$tmp/mailboxes"
while read -r id catalog sha256; do
  set +e # A damaged mailbox stops neither the next one nor the links.
  (set -e; recover "$id" "$catalog" "$sha256") </dev/null
  [[ $? == 0 ]] || { failed=1; echo "recover.sh: mailbox $id is not whole, see above" >&2; }
  set -e
done <"$tmp/mailboxes"
touch "$tmp/links" "$tmp/times" # Made last of all, so that nothing was written through one.
while IFS= read -rd '' target && IFS= read -rd '' path && read -rd '' owner; do
  ln -sT -- "$target" "$path"
  [[ $EUID != 0 ]] || chown -h -- "$owner" "$path"
done <"$tmp/links"
while IFS= read -rd '' mtime && IFS= read -rd '' path; do touch -d "@$mtime" -- "$path"; done <"$tmp/times"
exit "$failed"
