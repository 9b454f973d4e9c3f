{{/* The devices, as entries of a fleet file: a JSON object {"devices": […]}. */}}
{{- define "karman.devices" -}}
{{- $devices := list -}}
{{- if eq .Values.source.mode "replay" -}}
  {{- $given := .Values.source.dataReplayEndpoint -}}
  {{- if not (or .Values.replay.enabled $given) -}}
    {{- fail "replay.enabled: false, and source.mode is replay: who publishes? give source.dataReplayEndpoint, or set source.mode: live" -}}
  {{- end -}}
  {{- $host := printf "tcp://%s-replay.%s.svc" (include "karman.fullname" .) (include "karman.namespace" .) -}}
  {{- range $index := until (int .Values.replay.devices) -}}
    {{- $endpoint := printf "%s:%d" $host (add 5557 $index) -}}
    {{- if $given -}}
      {{- $parts := splitList ":" $given -}}
      {{- $endpoint = printf "%s:%d" (initial $parts | join ":") (add (last $parts | int) $index) -}}
    {{- end -}}
    {{- $devices = append $devices (dict "id" (printf "replay-%d" (add1 $index)) "endpoint" $endpoint "rack" $.Values.rackId) -}}
  {{- end -}}
{{- else if .Values.devices -}}
  {{- $devices = .Values.devices -}}
{{- else -}}
  {{- $devices = list (dict "id" (printf "%s-karman" .Values.rackId) "endpoint" .Values.source.karmanEndpoint "rack" .Values.rackId) -}}
{{- end -}}
{{- dict "devices" $devices | toJson -}}
{{- end -}}

{{/* For how many devices the cluster is made: in steps, so that one more device changes no pod. */}}
{{- define "karman.capacity" -}}
{{- $wanted := int .Values.sizing.devices -}}
{{- if not $wanted -}}
  {{- range (include "karman.devices" . | fromJson).devices -}}
    {{- if .each -}}
      {{- fail "a pattern in `devices` stands for many: say how many in sizing.devices" -}}
    {{- end -}}
    {{- $wanted = add1 $wanted -}}
  {{- end -}}
{{- end -}}
{{- $step := 8 -}}
{{- range list 64 256 512 1024 2048 4096 8192 16384 -}}
  {{- if gt $wanted $step -}}{{- $step = . -}}{{- end -}}
{{- end -}}
{{- if gt $wanted $step -}}{{- fail (printf "sizing.devices: %d is more than one release can hold (16384): split the fleet" $wanted) -}}{{- end -}}
{{- $step -}}
{{- end -}}

{{/* "true" where one kind of pod does everything but the head's work. */}}
{{- define "karman.small" -}}
{{- if le (include "karman.capacity" . | int) 64 -}}true{{- end -}}
{{- end -}}

{{/* "true" where the gateway has a pod of its own, so that the figures do not go blind with a database's shard. */}}
{{- define "karman.gatewayDedicated" -}}
{{- $wanted := .Values.ray.gateway.dedicated -}}
{{- if ternary (not (include "karman.small" .)) $wanted (kindIs "invalid" $wanted) -}}true{{- end -}}
{{- end -}}

{{/* Pods that only ingest and aggregate. Two at least, so that one may go. */}}
{{- define "karman.ingestReplicas" -}}
{{- $wanted := .Values.ray.ingest.replicas -}}
{{- if not (kindIs "invalid" $wanted) -}}
{{- $wanted | int -}}
{{- else if include "karman.small" . -}}
0
{{- else -}}
{{- max 2 (divf (include "karman.capacity" .) .Values.sizing.devicesPerWorker | ceil) | int -}}
{{- end -}}
{{- end -}}

{{/* What a pod takes that plays these parts. Memory is not overcommitted; processors may be used when they are free.
     Takes (dict "root" $ "parts" (dict "store" devices …) "given" resources-from-values). */}}
{{- define "karman.resources" -}}
{{- if .given -}}
{{- toYaml .given -}}
{{- else -}}
{{- $cpu := 0.0 -}}
{{- $memory := 0.0 -}}
{{- range $part, $devices := .parts -}}
  {{- $cost := index $.root.Values.sizing $part -}}
  {{- $cpu = addf $cpu $cost.cpuMilli (mulf $cost.cpuMilliPerDevice $devices) -}}
  {{- $memory = addf $memory $cost.memoryMi (mulf $cost.memoryMiPerDevice $devices) -}}
{{- end -}}
requests: {cpu: {{ ceil $cpu }}m, memory: {{ ceil $memory }}Mi}
limits: {cpu: {{ max 1 (divf (mulf 2 $cpu) 1000 | ceil) | quote }}, memory: {{ ceil $memory }}Mi}
{{- end -}}
{{- end -}}

{{/* Bytes of a size as Kubernetes or a fleet file writes it: 10Gi, 8GiB, 500M, 1048576. */}}
{{- define "karman.bytes" -}}
{{- $size := toString . | trimSuffix "B" -}}
{{- $number := regexFind "^[0-9.]+" $size -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000
    "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $size | trim) | default 1) | int64 -}}
{{- end -}}

{{/* The fleet file. */}}
{{- define "karman.fleet" -}}
{{- $file := dict
    "devices" (include "karman.devices" . | fromJson).devices
    "defaults" (dict "topic" .Values.source.topic "breaker_a" .Values.breakerRatingAmps "nominal_v" .Values.systemVoltage)
    "devices_per_actor" (ternary 1 32 (le (include "karman.capacity" . | int) 8))
    "store_shards" (int .Values.ray.store.shards)
    "fleet" (dict "shards" (max 1 (divf (include "karman.capacity" .) .Values.sizing.devicesPerFleetShard | ceil) | int))
    "database" (dict "dsn_env" "KARMAN_DSN")
    "http" (dict "host" "0.0.0.0" "port" 9105)
    "spool_dir" "/var/lib/karman/spool"
    "storage" (dict "spool_bytes" .Values.ray.store.spool.bytes)
-}}
{{- if eq .Values.source.mode "replay" -}}
  {{- $_ := set $file "mains_hz" .Values.replay.rateHz -}}
{{- end -}}
{{- if include "karman.gatewayToken" . -}}
  {{- $_ := set $file.http "token_file" "/etc/karman/token/token" -}}
{{- end -}}
{{- with .Values.security.curve -}}
  {{- $curve := dict "require" .require -}}
  {{- if .existingSecret }}{{ $_ := set $curve "client_secret_file" "/etc/karman/curve/client.key_secret" }}{{ end -}}
  {{- $_ := set $file "security" (dict "curve" $curve) -}}
{{- end -}}
{{- range $key, $instead := dict "devices" "devices" "store_shards" "ray.store.shards" "spool_dir" "ray.store.spool" "database" "timescale" -}}
  {{- if hasKey $.Values.fleet $key }}{{ fail (printf "fleet.%s: other objects of this chart go by %s; set that instead" $key $instead) }}{{ end -}}
{{- end -}}
{{- range $key := list "host" "port" "token_file" -}}
  {{- if hasKey ($.Values.fleet.http | default dict) $key }}{{ fail (printf "fleet.http.%s: pods, services and policies of this chart have one already" $key) }}{{ end -}}
{{- end -}}
{{- $file = mustMergeOverwrite $file (deepCopy .Values.fleet) -}}
{{- if gt (include "karman.bytes" $file.storage.spool_bytes | int64) (include "karman.bytes" .Values.ray.store.spool.size | int64) -}}
  {{- fail (printf "ray.store.spool: %v is more than the claim of %v holds; give size a quarter more than bytes" $file.storage.spool_bytes .Values.ray.store.spool.size) -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{/* Ports on which pods connect to devices, or to the publisher that stands for them: a JSON object {"ports": […]}. */}}
{{- define "karman.devicePorts" -}}
{{- $ports := list -}}
{{- range (include "karman.devices" . | fromJson).devices -}}
  {{- $port := regexFind "[0-9]+$" .endpoint -}}
  {{- if not $port }}{{ fail (printf "source.devices: %s: which port is that? Network policies need it as a number, also where {port} would be filled in" .endpoint) }}{{ end -}}
  {{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- dict "ports" ($ports | uniq) | toJson -}}
{{- end -}}

{{/* "true" where the endpoint is that of the original's own publisher, as in its values for a demo: ours stands for it. */}}
{{- define "karman.originalReplay" -}}
{{- if hasPrefix "tcp://data-replay." .Values.source.dataReplayEndpoint -}}true{{- end -}}
{{- end -}}

{{/* "true" where devices are outside this chart. */}}
{{- define "karman.devicesOutside" -}}
{{- if not (include "karman.replay" .) -}}true{{- end -}}
{{- end -}}
