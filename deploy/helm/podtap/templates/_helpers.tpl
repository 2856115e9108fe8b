{{/* The name of everything: that of the release, with the chart's unless it is part of it. */}}
{{- define "podtap.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if contains $name $release -}}
{{- $release | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" $release $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that select: (list . "agent"). They never change, since selectors can't. */}}
{{- define "podtap.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of each object: (list . "agent"). */}}
{{- define "podtap.labels" -}}
{{- $root := index . 0 -}}
{{ include "podtap.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: podtap
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- end -}}

{{/* An image's name: (list . .Values.agent.image). */}}
{{- define "podtap.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := $image.repository -}}
{{- with $root.Values.image.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* A service account's name: (list . "agent"). */}}
{{- define "podtap.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := (index $root.Values $component).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "podtap.fullname" $root) $component) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* The Secret with redaction's key, whoever makes it. */}}
{{- define "podtap.redactionSecret" -}}
{{- default (printf "%s-redaction-key" (include "podtap.fullname" .)) .Values.redaction.existingSecret -}}
{{- end -}}

{{/* "true" where the agents can rely on that Secret. */}}
{{- define "podtap.hasRedactionKey" -}}
{{- if or .Values.redaction.existingSecret .Values.redaction.createSecret -}}true{{- end -}}
{{- end -}}

{{/* "true" where the table is on an object store. */}}
{{- define "podtap.objectStore" -}}
{{- if .Values.collector.store -}}true{{- end -}}
{{- end -}}

{{/* The agent's settings: the chart's, and over them the user's. */}}
{{- define "podtap.agentConfig" -}}
{{- $config := dict
  "admin" (dict "listen" "[::]:7072")
  "kubernetes" (dict "cgroup_root" "/host/sys/fs/cgroup")
  "log" (dict "format" "json")
-}}
{{- if include "podtap.hasRedactionKey" . -}}
{{- $_ := set $config "redaction" (dict "key_file" "/etc/podtap/redaction/key") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.agent.config)) -}}
{{- end -}}

{{/* The collector's settings: the chart's, and over them the user's. */}}
{{- define "podtap.collectorConfig" -}}
{{- $config := dict
  "listen" "[::]:7070"
  "admin" (dict "listen" "[::]:7071")
  "store" (default "/var/lib/podtap/table" .Values.collector.store)
  "kubernetes" (dict "enabled" true "namespace" .Release.Namespace "lease" (printf "%s-collector" (include "podtap.fullname" .)))
  "log" (dict "format" "json")
-}}
{{- if .Values.collector.retention -}}
{{- $_ := set $config "retention" (deepCopy .Values.collector.retention) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.collector.config)) -}}
{{- end -}}

{{/* Probes of an admin port. Readiness is not liveness: what waits for something else must not be restarted. */}}
{{- define "podtap.probes" -}}
startupProbe:
  httpGet:
    path: /live
    port: admin
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /live
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /ready
    port: admin
  periodSeconds: 2
  timeoutSeconds: 5
{{- end -}}

{{/* The seccomp profile of the agent. */}}
{{- define "podtap.agentSeccomp" -}}
{{- $profile := .Values.agent.seccompProfile -}}
{{- if hasPrefix "localhost/" $profile -}}
type: Localhost
localhostProfile: {{ trimPrefix "localhost/" $profile }}
{{- else -}}
type: {{ $profile }}
{{- end -}}
{{- end -}}
