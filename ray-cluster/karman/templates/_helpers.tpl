{{/* Names. A RayCluster's may have 53 letters; ours leaves room for what is appended to it. */}}
{{- define "karman.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "karman.namespace" -}}
{{- .Values.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* Labels by which objects are selected; never changed. Takes (dict "root" $ "component" "…"). */}}
{{- define "karman.selector" -}}
app.kubernetes.io/part-of: karman
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "karman.labels" -}}
app.kubernetes.io/name: karman
{{ include "karman.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Labels of pods: without what changes with every version of the chart, for that would replace them. */}}
{{- define "karman.podLabels" -}}
app.kubernetes.io/name: karman
{{ include "karman.selector" . }}
{{- end -}}

{{- define "karman.meta" -}}
name: {{ .name | default (include "karman.fullname" .root) }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ include "karman.namespace" .root }}
labels:
  {{- include "karman.labels" . | nindent 2 }}
{{- end -}}

{{/* Takes a map with repository, tag, digest, and the tag where there is none. */}}
{{- define "karman.imageOf" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end -}}
{{- end -}}

{{- define "karman.image" -}}
{{- include "karman.imageOf" (dict "image" .Values.image "tag" .Chart.AppVersion) -}}
{{- end -}}

{{/* ------------------------------------------------------------------------------------------- pods: what all share */}}

{{- define "karman.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "karman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Takes (dict "root" $ "component" "…" "nodes" "gpu|infra" "user" 1000). */}}
{{- define "karman.podSpec" -}}
serviceAccountName: {{ include "karman.fullname" .root }}-{{ .component }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index .root.Values.selectors .nodes }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index .root.Values.tolerations .nodes }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- include "karman.podSecurity" .user | nindent 2 }}
{{- end -}}

{{/* ---------------------------------------------------------------------------------------------- secrets, by reference */}}

{{- define "karman.databaseSecret" -}}
{{- .Values.timescale.existingSecret | default (printf "%s-database" (include "karman.fullname" .)) -}}
{{- end -}}

{{- define "karman.rayTokenSecret" -}}
{{- .Values.ray.auth.existingSecret | default (printf "%s-ray-token" (include "karman.fullname" .)) -}}
{{- end -}}

{{- define "karman.gatewayTokenSecret" -}}
{{- .Values.prometheus.token.existingSecret | default (printf "%s-gateway-token" (include "karman.fullname" .)) -}}
{{- end -}}

{{/* "true" where metrics and pages ask for a token. */}}
{{- define "karman.gatewayToken" -}}
{{- $wanted := .Values.prometheus.token.enabled -}}
{{- if or .Values.prometheus.token.existingSecret (ternary (eq .Values.prometheus.mode "external") $wanted (kindIs "invalid" $wanted)) -}}true{{- end -}}
{{- end -}}

{{/* What a Secret of ours holds already, else a new random word: an upgrade changes no password.
     Takes (dict "root" $ "secret" name "key" key "length" n). */}}
{{- define "karman.kept" -}}
{{- $found := lookup "v1" "Secret" (include "karman.namespace" .root) .secret -}}
{{- with and $found (get (default dict $found.data) .key) -}}
{{ . | b64dec }}
{{- else -}}
{{ randAlphaNum (int .length) }}
{{- end -}}
{{- end -}}
