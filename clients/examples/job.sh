#!/usr/bin/env bash
# A recording to text with curl and nothing else: once while we wait, and once as a job, with subtitles at its end.
#
#   bash job.sh talk.mp3        writes talk.srt
set -euo pipefail

file=${1:?usage: bash job.sh RECORDING}
server=${SERVER:-http://127.0.0.1:8000}
ask=(curl --silent --show-error --fail-with-body)
[ -z "${STREAM_API_KEY:-}" ] || ask+=(--header "Authorization: Bearer $STREAM_API_KEY")

echo "At once:"
"${ask[@]}" --form "file=@$file" --form model=whisper-1 --form response_format=text "$server/v1/audio/transcriptions"

# A job outlives this program, and the server: whoever has its address can ask for it later.
address=$("${ask[@]}" --form "file=@$file" --form model=whisper-1 --form response_format=srt \
    --dump-header - --output /dev/null "$server/v1/transcription-jobs" |
    tr -d '\r' | sed -n 's/^location: *//Ip')
echo
echo "As a job: $server$address"

state=queued
while [ "$state" = queued ] || [ "$state" = processing ]; do
    sleep "${PAUSE:-1}"
    state=$("${ask[@]}" "$server$address" | grep -o '"status":"[a-z]*"' | head -n 1 | cut -d '"' -f 4)
    echo "$state"
done

subtitles=$(basename "${file%.*}").srt
"${ask[@]}" --output "$subtitles" "$server$address/result" # of a job that failed: why, and exit status 22
echo "$subtitles:"
cat "$subtitles"
