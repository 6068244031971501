{{- define "qzo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "qzo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "qzo.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "qzo.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Arguments here and below: dict "root" $ "component" NAME. */}}
{{- define "qzo.selector" -}}
app.kubernetes.io/name: {{ include "qzo.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "qzo.labels" -}}
{{ include "qzo.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: qzo
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "qzo.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "qzo.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "qzo.serverHost" -}}
{{ include "qzo.fullname" . }}-coordinator.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "qzo.serverAddress" -}}
{{ include "qzo.serverHost" . }}:7070
{{- end -}}

{{- define "qzo.serverSecret" -}}
{{ default (printf "%s-server-tls" (include "qzo.fullname" .)) .Values.tls.serverSecret }}
{{- end -}}

{{- define "qzo.workerSecret" -}}
{{ default (printf "%s-worker-tls" (include "qzo.fullname" .)) .Values.tls.workerSecret }}
{{- end -}}

{{- define "qzo.adminSecret" -}}
{{ default (printf "%s-admin-tls" (include "qzo.fullname" .)) .Values.tls.adminSecret }}
{{- end -}}

{{/* What every pod has: passes the Pod Security Standard "restricted". Argument: root. */}}
{{- define "qzo.podSecurity" -}}
serviceAccountName: {{ include "qzo.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "qzo.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* livez says nothing of store or coordinator, so that no restart follows from their trouble. Argument: HTTP or HTTPS. */}}
{{- define "qzo.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: metrics, scheme: {{ . }}}
  periodSeconds: 10
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: metrics, scheme: {{ . }}}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: metrics, scheme: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "qzo.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How to reach the coordinator. Argument: root. */}}
{{- define "qzo.clientArguments" -}}
- --server={{ include "qzo.serverAddress" . }}
{{- if .Values.tls.enabled }}
- --tls-ca=/etc/qzo/tls/ca.crt
- --tls-cert=/etc/qzo/tls/tls.crt
- --tls-key=/etc/qzo/tls/tls.key
{{- else }}
- --insecure
{{- end }}
{{- end -}}
